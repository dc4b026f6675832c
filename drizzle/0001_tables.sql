CREATE TABLE "inturn"."accounts" (
	"id" text collate "C" NOT NULL,
	"last_seq" bigint DEFAULT 0 NOT NULL,
	"processed_seq" bigint DEFAULT 0 NOT NULL,
	"state" text DEFAULT 'idle' NOT NULL,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"lease_worker" uuid,
	"head_attempts" integer DEFAULT 0 NOT NULL,
	"head_started" boolean DEFAULT false NOT NULL,
	"attempts_forgiven" integer DEFAULT 0 NOT NULL,
	"next_attempt_at" timestamp with time zone,
	"head_error" text,
	"parked_until" timestamp with time zone,
	"paused_at" timestamp with time zone,
	"dead" bigint DEFAULT 0 NOT NULL,
	"skipped" bigint DEFAULT 0 NOT NULL,
	"pruned_seq" bigint DEFAULT 0 NOT NULL,
	"state_since" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"created_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "accounts_pk" PRIMARY KEY("id"),
	CONSTRAINT "accounts_state_known" CHECK (state in ('idle', 'scheduled', 'running', 'retrying', 'blocked')),
	CONSTRAINT "accounts_processed_not_ahead" CHECK (processed_seq between 0 and last_seq),
	CONSTRAINT "accounts_idle_has_no_pending" CHECK (state <> 'idle' or processed_seq = last_seq),
	CONSTRAINT "accounts_running_has_worker" CHECK ((state = 'running') = (lease_worker is not null)),
	CONSTRAINT "accounts_retrying_has_time" CHECK ((state = 'retrying') = (next_attempt_at is not null)),
	CONSTRAINT "accounts_parked_is_blocked" CHECK (parked_until is null or state = 'blocked'),
	CONSTRAINT "accounts_pruned_is_settled" CHECK (pruned_seq between 0 and processed_seq),
	CONSTRAINT "accounts_set_aside_is_settled" CHECK (dead >= 0 and skipped >= 0 and dead + skipped <= processed_seq)
);
--> statement-breakpoint
CREATE TABLE "inturn"."api_keys" (
	"id" text NOT NULL,
	"name" text NOT NULL,
	"hash" text NOT NULL,
	"scopes" text[] NOT NULL,
	"account_prefix" text,
	"events_per_second" integer,
	"created_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"revoked_at" timestamp with time zone,
	CONSTRAINT "api_keys_pk" PRIMARY KEY("id"),
	CONSTRAINT "api_keys_scopes_known" CHECK (scopes <@ array['ingest', 'read', 'operate'])
);
--> statement-breakpoint
CREATE TABLE "inturn"."events" (
	"account_id" text collate "C" NOT NULL,
	"seq" bigint NOT NULL,
	"event_id" text,
	"type" text,
	"data" json NOT NULL,
	"metadata" json,
	"bytes" integer,
	"occurred_at" timestamp with time zone,
	"received_at" timestamp with time zone NOT NULL,
	"started_at" timestamp with time zone,
	"processed_at" timestamp with time zone,
	"duration_ms" double precision,
	"attempts" integer DEFAULT 0 NOT NULL,
	"outcome" text,
	"error" text,
	CONSTRAINT "events_pk" PRIMARY KEY("account_id","seq"),
	CONSTRAINT "events_seq_from_one" CHECK (seq >= 1),
	CONSTRAINT "events_outcome_known" CHECK (outcome in ('processed', 'dead', 'skipped')),
	CONSTRAINT "events_settled_whole" CHECK ((outcome is null) = (processed_at is null))
);
--> statement-breakpoint
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
CREATE TABLE "inturn"."sources" (
	"name" text NOT NULL,
	"secrets" text[] NOT NULL,
	"account_pointer" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "sources_pk" PRIMARY KEY("name"),
	CONSTRAINT "sources_have_secrets" CHECK (cardinality(secrets) between 1 and 2)
);
--> statement-breakpoint
CREATE TABLE "inturn"."workers" (
	"id" uuid NOT NULL,
	"host" text NOT NULL,
	"pid" integer NOT NULL,
	"concurrency" integer NOT NULL,
	"started_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"lease_expires_at" timestamp with time zone NOT NULL,
	"renewed_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"life_key" bigint,
	"graphile_pool" text,
	CONSTRAINT "workers_pk" PRIMARY KEY("id")
);
--> statement-breakpoint
CREATE INDEX "accounts_not_idle" ON "inturn"."accounts" USING btree ("state","state_since") WHERE state <> 'idle';--> statement-breakpoint
CREATE INDEX "accounts_due" ON "inturn"."accounts" USING btree (coalesce(next_attempt_at, state_since),"id") WHERE state in ('scheduled', 'retrying') and paused_at is null;--> statement-breakpoint
CREATE INDEX "accounts_parked" ON "inturn"."accounts" USING btree ("parked_until") WHERE parked_until is not null;--> statement-breakpoint
CREATE INDEX "accounts_idle_since" ON "inturn"."accounts" USING btree ("state_since") WHERE state = 'idle';--> statement-breakpoint
CREATE INDEX "accounts_paused" ON "inturn"."accounts" USING btree ("id") WHERE paused_at is not null;--> statement-breakpoint
CREATE INDEX "accounts_with_dead_letters" ON "inturn"."accounts" USING btree ("id") WHERE dead > 0;--> statement-breakpoint
CREATE UNIQUE INDEX "events_event_id" ON "inturn"."events" USING btree ("account_id","event_id") WHERE event_id is not null;--> statement-breakpoint
CREATE INDEX "operations_of_account" ON "inturn"."operations" USING btree ("account_id","id");