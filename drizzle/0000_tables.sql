CREATE SCHEMA "inturn";
--> statement-breakpoint
CREATE TABLE "inturn"."accounts" (
	"id" text collate "C" NOT NULL,
	"last_seq" bigint DEFAULT 0 NOT NULL,
	"processed_seq" bigint DEFAULT 0 NOT NULL,
	"state" text DEFAULT 'idle' NOT NULL,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"lease_worker" uuid,
	"head_attempts" integer DEFAULT 0 NOT NULL,
	"next_attempt_at" timestamp with time zone,
	"head_error" text,
	"state_since" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"created_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "accounts_pk" PRIMARY KEY("id"),
	CONSTRAINT "accounts_state_known" CHECK (state in ('idle', 'scheduled', 'running', 'retrying')),
	CONSTRAINT "accounts_processed_not_ahead" CHECK (processed_seq between 0 and last_seq),
	CONSTRAINT "accounts_idle_has_no_pending" CHECK (state <> 'idle' or processed_seq = last_seq),
	CONSTRAINT "accounts_running_has_worker" CHECK ((state = 'running') = (lease_worker is not null)),
	CONSTRAINT "accounts_retrying_has_time" CHECK ((state = 'retrying') = (next_attempt_at is not null))
);
--> statement-breakpoint
CREATE TABLE "inturn"."events" (
	"account_id" text collate "C" NOT NULL,
	"seq" bigint NOT NULL,
	"event_id" text,
	"type" text,
	"data" json NOT NULL,
	"occurred_at" timestamp with time zone,
	"received_at" timestamp with time zone NOT NULL,
	"started_at" timestamp with time zone,
	"processed_at" timestamp with time zone,
	"duration_ms" double precision,
	"attempts" integer DEFAULT 0 NOT NULL,
	"outcome" text,
	CONSTRAINT "events_pk" PRIMARY KEY("account_id","seq"),
	CONSTRAINT "events_seq_from_one" CHECK (seq >= 1),
	CONSTRAINT "events_outcome_known" CHECK (outcome in ('processed')),
	CONSTRAINT "events_settled_whole" CHECK ((outcome is null) = (processed_at is null))
);
--> statement-breakpoint
CREATE TABLE "inturn"."workers" (
	"id" uuid NOT NULL,
	"host" text NOT NULL,
	"pid" integer NOT NULL,
	"concurrency" integer NOT NULL,
	"started_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"lease_expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "workers_pk" PRIMARY KEY("id")
);
--> statement-breakpoint
CREATE INDEX "accounts_not_idle" ON "inturn"."accounts" USING btree ("state","state_since") WHERE state <> 'idle';--> statement-breakpoint
CREATE UNIQUE INDEX "events_event_id" ON "inturn"."events" USING btree ("account_id","event_id") WHERE event_id is not null;