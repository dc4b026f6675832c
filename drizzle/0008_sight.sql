-- For those who look on: what was done last, what is paused, and what was set aside, each found without reading all accounts.
create index "accounts_idle_since" on "inturn"."accounts" using btree ("state_since") where state = 'idle';--> statement-breakpoint
create index "accounts_paused" on "inturn"."accounts" using btree ("id") where paused_at is not null;--> statement-breakpoint
create index "accounts_with_dead_letters" on "inturn"."accounts" using btree ("id") where dead > 0;