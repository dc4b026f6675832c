-- The whole history in one row. `ideal_seconds` is the floor: one account cannot be faster than its own handler time.
create or replace view inturn.run_summary as
with per_account as (
  select e.account_id, count(*) as events, count(*) filter (where e.outcome = 'processed') as processed,
    sum(e.duration_ms) / 1000 as handler_seconds,
    min(e.received_at) as first_received_at, max(e.processed_at) filter (where e.outcome = 'processed') as last_processed_at
  from inturn.events as e group by e.account_id
), whole as (
  select coalesce(sum(events), 0)::bigint as events, count(*) as accounts, coalesce(sum(processed), 0)::bigint as processed,
    min(first_received_at) as first_received_at, max(last_processed_at) as last_processed_at,
    extract(epoch from max(last_processed_at) - min(first_received_at))::double precision as makespan_seconds,
    max(handler_seconds) as ideal_seconds
  from per_account
)
select w.*, w.ideal_seconds / nullif(w.makespan_seconds, 0) as efficiency from whole as w;
