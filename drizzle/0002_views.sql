-- The public read side: scripts and people read these views, never the tables.

-- One row per event. `wait_ms` is received → handler started, `duration_ms` the handler's own time.
create view inturn.event_results as
select
  e.account_id,
  e.seq,
  e.event_id,
  e.type,
  e.data,
  e.received_at,
  e.started_at,
  e.processed_at,
  case when head.is_head then a.head_attempts else e.attempts end as attempts,
  case
    when e.outcome is not null then e.outcome
    when head.is_head and a.state = 'running' then 'processing'
    when head.is_head and a.state = 'retrying' then 'retrying'
    else 'pending'
  end as state,
  (extract(epoch from e.started_at - e.received_at) * 1000)::double precision as wait_ms,
  e.duration_ms
from inturn.events as e
join inturn.accounts as a on a.id = e.account_id
cross join lateral (select e.seq = a.processed_seq + 1 as is_head) as head;--> statement-breakpoint

-- One row per account. The head is the first event that is not settled; everything behind it waits for it.
create view inturn.account_results as
select
  a.id as account_id,
  a.state,
  a.last_seq as events,
  a.processed_seq as processed,
  a.last_seq - a.processed_seq as pending,
  0::bigint as dead,
  head.seq as head_seq,
  case when head.seq is not null then a.head_attempts end as head_attempts,
  a.head_error,
  first.received_at as first_received_at,
  last.processed_at as last_processed_at,
  extract(epoch from clock_timestamp() - head.received_at)::double precision as oldest_pending_seconds,
  null::timestamptz as blocked_since
from inturn.accounts as a
left join inturn.events as first on first.account_id = a.id and first.seq = 1
left join inturn.events as last on last.account_id = a.id and last.seq = a.processed_seq
left join inturn.events as head on head.account_id = a.id and head.seq = a.processed_seq + 1;--> statement-breakpoint

-- Every breach of the promise that the stored facts can show. It must be empty.
--   gap                   a seq is missing
--   overlap               an event started before its predecessor was settled
--   settled_out_of_order  an event was settled before its predecessor, or the account's count says otherwise
create view inturn.order_violations as
with steps as (
  select
    e.account_id, e.seq, e.started_at, e.processed_at, a.processed_seq,
    lag(e.seq, 1, 0::bigint) over step as previous_seq,
    lag(e.processed_at) over step as previous_processed_at
  from inturn.events as e
  join inturn.accounts as a on a.id = e.account_id
  window step as (partition by e.account_id order by e.seq)
)
select s.account_id, s.seq, 'gap' as kind, format('the event before it is seq %s', s.previous_seq) as detail
from steps as s where s.seq <> s.previous_seq + 1
union all
select a.id, a.last_seq, 'gap', format('%s of %s events are stored', stored.events, a.last_seq)
from inturn.accounts as a
left join lateral (select count(*) as events from inturn.events as e where e.account_id = a.id) as stored on true
where stored.events <> a.last_seq
union all
select s.account_id, s.seq, 'overlap', format('started at %s, its predecessor was settled at %s', s.started_at, coalesce(s.previous_processed_at::text, 'no time'))
from steps as s
where s.seq > 1 and s.started_at is not null and (s.previous_processed_at is null or s.started_at < s.previous_processed_at)
union all
select s.account_id, s.seq, 'settled_out_of_order',
  format('settled at %s, its predecessor at %s', coalesce(s.processed_at::text, 'no time'), coalesce(s.previous_processed_at::text, 'no time'))
from steps as s
where (s.processed_at is not null) <> (s.seq <= s.processed_seq)
  or (s.seq > 1 and s.processed_at < s.previous_processed_at);--> statement-breakpoint

-- What came in and what was settled in each second of the database's clock.
create view inturn.throughput as
with received as (
  select date_trunc('second', e.received_at) as second, count(*) as events from inturn.events as e group by 1
), processed as (
  select date_trunc('second', e.processed_at) as second, count(*) as events
  from inturn.events as e where e.processed_at is not null group by 1
)
select second, coalesce(r.events, 0) as received, coalesce(p.events, 0) as processed
from received as r full join processed as p using (second)
order by second;--> statement-breakpoint

-- The whole history in one row. `ideal_seconds` is the floor: one account cannot be faster than its own handler time.
create view inturn.run_summary as
with per_account as (
  select e.account_id, count(*) as events, count(e.processed_at) as processed, sum(e.duration_ms) / 1000 as handler_seconds,
    min(e.received_at) as first_received_at, max(e.processed_at) as last_processed_at
  from inturn.events as e group by e.account_id
), whole as (
  select coalesce(sum(events), 0)::bigint as events, count(*) as accounts, coalesce(sum(processed), 0)::bigint as processed,
    min(first_received_at) as first_received_at, max(last_processed_at) as last_processed_at,
    extract(epoch from max(last_processed_at) - min(first_received_at))::double precision as makespan_seconds,
    max(handler_seconds) as ideal_seconds
  from per_account
)
select w.*, w.ideal_seconds / nullif(w.makespan_seconds, 0) as efficiency from whole as w;
