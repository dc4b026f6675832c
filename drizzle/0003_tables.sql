CREATE SEQUENCE "inturn"."first_epoch" INCREMENT BY 1 MINVALUE 0 MAXVALUE 9223372036854775807 START WITH 0 CACHE 1;--> statement-breakpoint
CREATE TABLE "inturn"."target_attempts" (
	"target" text collate "C" NOT NULL,
	"worker_id" uuid NOT NULL,
	"at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"attempts" integer NOT NULL,
	"failed" integer NOT NULL,
	"failed_accounts" text[] NOT NULL,
	CONSTRAINT "target_attempts_pk" PRIMARY KEY("target","worker_id")
);
--> statement-breakpoint
CREATE TABLE "inturn"."targets" (
	"name" text collate "C" NOT NULL,
	"state" text DEFAULT 'closed' NOT NULL,
	"since" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"away_since" timestamp with time zone,
	"reason" text,
	"next_probe_at" timestamp with time zone,
	"failed_probes" integer DEFAULT 0 NOT NULL,
	"probe_account" text collate "C",
	"by_hand" boolean DEFAULT false NOT NULL,
	"woken" bigint DEFAULT 0 NOT NULL,
	"suspected_since" timestamp with time zone,
	"suspected_at" timestamp with time zone,
	CONSTRAINT "targets_pk" PRIMARY KEY("name"),
	CONSTRAINT "targets_state_known" CHECK (state in ('closed', 'open', 'half-open')),
	CONSTRAINT "targets_away_has_since" CHECK ((state = 'closed') = (away_since is null)),
	CONSTRAINT "targets_half_open_has_probe" CHECK ((state = 'half-open') = (probe_account is not null))
);
--> statement-breakpoint
CREATE TABLE "inturn"."pause_list" (
	"only_row" boolean DEFAULT true NOT NULL,
	"version" bigint NOT NULL,
	CONSTRAINT "pause_list_pk" PRIMARY KEY("only_row"),
	CONSTRAINT "pause_list_one_row" CHECK (only_row)
);
--> statement-breakpoint
CREATE TABLE "inturn"."pauses" (
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "inturn"."pauses_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"covers" text NOT NULL,
	"value" text collate "C" DEFAULT '' NOT NULL,
	"since" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"until" timestamp with time zone,
	"who" text NOT NULL,
	"why" text,
	"rate" integer,
	"released_at" timestamp with time zone,
	CONSTRAINT "pauses_pk" PRIMARY KEY("id"),
	CONSTRAINT "pauses_covers_value" UNIQUE("covers","value"),
	CONSTRAINT "pauses_covers_known" CHECK (covers in ('all', 'type', 'prefix')),
	CONSTRAINT "pauses_value_of_cover" CHECK ((covers = 'all') = (value = '')),
	CONSTRAINT "pauses_ends_at_rate" CHECK ((rate is null) = (released_at is null))
);
--> statement-breakpoint
CREATE TABLE "inturn"."bulk_operation_items" (
	"operation_id" bigint NOT NULL,
	"account_id" text collate "C" NOT NULL,
	"seq" bigint NOT NULL,
	"outcome" text,
	CONSTRAINT "bulk_operation_items_pk" PRIMARY KEY("operation_id","account_id","seq")
);
--> statement-breakpoint
CREATE TABLE "inturn"."bulk_operations" (
	"id" bigint GENERATED ALWAYS AS IDENTITY (sequence name "inturn"."bulk_operations_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"verb" text NOT NULL,
	"filter" json NOT NULL,
	"force" boolean DEFAULT false NOT NULL,
	"rate" integer,
	"who" text NOT NULL,
	"why" text,
	"created_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"cancelled_at" timestamp with time zone,
	"ended_at" timestamp with time zone,
	"matched" bigint NOT NULL,
	"tried" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "bulk_operations_pk" PRIMARY KEY("id"),
	CONSTRAINT "bulk_operations_verb_known" CHECK (verb in ('pause', 'resume', 'retry', 'skip', 'redrive', 'replay'))
);
--> statement-breakpoint
CREATE TABLE "inturn"."attempts" (
	"account_id" text collate "C" NOT NULL,
	"seq" bigint NOT NULL,
	"slot" integer NOT NULL,
	"attempt" integer NOT NULL,
	"worker_id" uuid,
	"started_at" timestamp with time zone,
	"ended_at" timestamp with time zone NOT NULL,
	"outcome" text NOT NULL,
	"error" text,
	CONSTRAINT "attempts_pk" PRIMARY KEY("account_id","seq","slot"),
	CONSTRAINT "attempts_outcome_known" CHECK (outcome in ('retry', 'snooze', 'wait', 'block', 'park', 'dead-letter', 'lost'))
);
--> statement-breakpoint
CREATE TABLE "inturn"."buckets" (
	"bucket" smallint NOT NULL,
	"cell" text NOT NULL,
	"here" text NOT NULL,
	"is_here" boolean GENERATED ALWAYS AS (cell = here) STORED NOT NULL,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"moving_to" text,
	"mover" text,
	"is_frozen" boolean DEFAULT false NOT NULL,
	CONSTRAINT "buckets_pk" PRIMARY KEY("bucket"),
	CONSTRAINT "buckets_bucket_known" CHECK (bucket between 0 and 255),
	CONSTRAINT "buckets_frozen_moves" CHECK (not is_frozen or cell = here and moving_to is not null)
);
--> statement-breakpoint
ALTER TABLE "inturn"."accounts" DROP CONSTRAINT "accounts_state_known";--> statement-breakpoint
ALTER TABLE "inturn"."operations" DROP CONSTRAINT "operations_verb_known";--> statement-breakpoint
ALTER TABLE "inturn"."operations" ALTER COLUMN "account_id" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "head_target" text collate "C";--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "head_outages" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "snoozed_since" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "paused_by" bigint;--> statement-breakpoint
ALTER TABLE "inturn"."events" ADD COLUMN "unsettled_before" smallint;--> statement-breakpoint
ALTER TABLE "inturn"."operations" ADD COLUMN "target" text collate "C";--> statement-breakpoint
ALTER TABLE "inturn"."operations" ADD COLUMN "covers" text;--> statement-breakpoint
ALTER TABLE "inturn"."operations" ADD COLUMN "operation_id" bigint DEFAULT nullif(current_setting('inturn.operation', true), '')::bigint;--> statement-breakpoint
ALTER TABLE "inturn"."sources" ADD COLUMN "scheme" text DEFAULT 'standard' NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."sources" ADD COLUMN "id_pointer" text;--> statement-breakpoint
ALTER TABLE "inturn"."sources" ADD COLUMN "type_pointer" text;--> statement-breakpoint
ALTER TABLE "inturn"."workers" ADD COLUMN "in_hand" integer;--> statement-breakpoint
ALTER TABLE "inturn"."workers" ADD COLUMN "pauses_version" bigint;--> statement-breakpoint
ALTER TABLE "inturn"."bulk_operation_items" ADD CONSTRAINT "bulk_operation_items_operation" FOREIGN KEY ("operation_id") REFERENCES "inturn"."bulk_operations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "bulk_operation_items_open" ON "inturn"."bulk_operation_items" USING btree ("operation_id","account_id","seq") WHERE outcome is null;--> statement-breakpoint
CREATE INDEX "bulk_operations_open" ON "inturn"."bulk_operations" USING btree ("id") WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX "accounts_paused_by" ON "inturn"."accounts" USING btree ("paused_by","paused_at") WHERE paused_by is not null;--> statement-breakpoint
CREATE INDEX "accounts_waiting" ON "inturn"."accounts" USING btree ("head_target","state_since") WHERE state = 'waiting';--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD CONSTRAINT "accounts_waiting_has_target" CHECK (state <> 'waiting' or head_target is not null);--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD CONSTRAINT "accounts_state_known" CHECK (state in ('idle', 'scheduled', 'running', 'retrying', 'blocked', 'waiting'));--> statement-breakpoint
ALTER TABLE "inturn"."operations" ADD CONSTRAINT "operations_of_one" CHECK (num_nonnulls(account_id, target, covers) = 1);--> statement-breakpoint
ALTER TABLE "inturn"."operations" ADD CONSTRAINT "operations_verb_known" CHECK (verb in ('pause', 'resume', 'retry', 'skip', 'redrive', 'replay', 'open', 'close'));--> statement-breakpoint
ALTER TABLE "inturn"."sources" ADD CONSTRAINT "sources_scheme_known" CHECK (scheme in ('standard', 'stripe', 'github', 'slack', 'shopify', 'telegram', 'hmac'));