-- The views again, now with accounts that are blocked or paused and events that were set aside, and one for the operators.

create or replace view inturn.account_results as
select
  a.id as account_id,
  case when a.paused_at is not null and a.state <> 'running' then 'paused' else a.state end as state,
  a.last_seq as events,
  a.processed_seq - a.dead - a.skipped as processed,
  a.last_seq - a.processed_seq as pending,
  a.dead,
  head.seq as head_seq,
  case when head.seq is not null then a.head_attempts end as head_attempts,
  a.head_error,
  first.received_at as first_received_at,
  last.processed_at as last_processed_at,
  extract(epoch from clock_timestamp() - head.received_at)::double precision as oldest_pending_seconds,
  case when a.state = 'blocked' then a.state_since end as blocked_since
from inturn.accounts as a
left join inturn.events as first on first.account_id = a.id and first.seq = 1
left join inturn.events as last on last.account_id = a.id and last.seq = a.processed_seq
left join inturn.events as head on head.account_id = a.id and head.seq = a.processed_seq + 1;--> statement-breakpoint

create or replace view inturn.throughput as
with received as (
  select date_trunc('second', e.received_at) as second, count(*) as events from inturn.events as e group by 1
), processed as (
  select date_trunc('second', e.processed_at) as second, count(*) as events
  from inturn.events as e where e.outcome = 'processed' group by 1
)
select second, coalesce(r.events, 0) as received, coalesce(p.events, 0) as processed
from received as r full join processed as p using (second)
order by second;--> statement-breakpoint

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
select w.*, w.ideal_seconds / nullif(w.makespan_seconds, 0) as efficiency from whole as w;--> statement-breakpoint

-- What was set aside and waits for a decision: every dead letter, with the reason.
create view inturn.dead_letters as
select e.account_id, e.seq, e.event_id, e.type, e.data, e.received_at, e.processed_at as set_aside_at, e.attempts, e.error
from inturn.accounts as a
join inturn.events as e on e.account_id = a.id and e.outcome = 'dead'
where a.dead > 0;--> statement-breakpoint

-- Every verb that was carried out: who, when, why.
create view inturn.operator_log as
select o.id, o.at, o.verb, o.account_id, o.seq, o.who, o.why from inturn.operations as o;
