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
CREATE TABLE "inturn"."sources" (
	"name" text NOT NULL,
	"secrets" text[] NOT NULL,
	"account_pointer" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	CONSTRAINT "sources_pk" PRIMARY KEY("name"),
	CONSTRAINT "sources_have_secrets" CHECK (cardinality(secrets) between 1 and 2)
);
--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD COLUMN "pruned_seq" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "inturn"."events" ADD COLUMN "metadata" json;--> statement-breakpoint
ALTER TABLE "inturn"."accounts" ADD CONSTRAINT "accounts_pruned_is_settled" CHECK (pruned_seq between 0 and processed_seq);