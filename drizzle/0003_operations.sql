CREATE TABLE "inturn"."operations" (
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "inturn"."operations_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"verb" text NOT NULL,
	"account_id" text collate "C" NOT NULL,
	"seq" bigint,
	"who" text NOT NULL,
	"why" text,
	CONSTRAINT "operations_pk" PRIMARY KEY("id"),
	CONSTRAINT "operations_verb_known" CHECK (verb in ('pause', 'resume', 'retry', 'skip', 'redrive', 'replay'))
);
--> statement-breakpoint
ALTER TABLE "inturn"."accounts" DROP CONSTRAINT "accounts_state_known";--> statement-breakpoint
ALTER TABLE "inturn"."events" DROP CONSTRAINT "events_outcome_known";--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "attempts_forgiven" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "parked_until" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "paused_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "dead" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "skipped" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."events" ADD COLUMN "error" text;--> statement-breakpoint
ALTER TABLE "inturn"."workers" ADD COLUMN "renewed_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."workers" ADD COLUMN "life_key" bigint;--> statement-breakpoint
ALTER TABLE "inturn"."workers" ADD COLUMN "graphile_pool" text;--> statement-breakpoint
CREATE INDEX "operations_of_account" ON "inturn"."operations" USING btree ("account_id","id");--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD CONSTRAINT "accounts_parked_is_blocked" CHECK (parked_until is null or state = 'blocked');--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD CONSTRAINT "accounts_set_aside_is_settled" CHECK (dead >= 0 and skipped >= 0 and dead + skipped <= processed_seq);--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD CONSTRAINT "accounts_state_known" CHECK (state in ('idle', 'scheduled', 'running', 'retrying', 'blocked'));--> statement-breakpoint
ALTER TABLE "inturn"."events" ADD CONSTRAINT "events_outcome_known" CHECK (outcome in ('processed', 'dead', 'skipped')) NOT VALID;