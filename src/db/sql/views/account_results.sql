-- One row per account. The head is the first event that is not settled; every event after it waits for it.
create or replace view inturn.account_results as
select
  a.id as account_id,
  inturn.shown_state(a.state, a.paused_at) as state,
  a.last_seq as events,
  a.processed_seq - a.dead - a.skipped as processed,
  a.last_seq - a.processed_seq as pending,
  a.dead,
  head.seq as head_seq,
  case when head.seq is not null then a.head_attempts end as head_attempts,
  a.head_error,
  coalesce(first.received_at, a.created_at) as first_received_at,
  last.processed_at as last_processed_at,
  extract(epoch from clock_timestamp() - head.received_at)::double precision as oldest_pending_seconds,
  case when a.state = 'blocked' then a.state_since end as blocked_since,
  case when a.state = 'waiting' then a.head_target end as waits_for
from inturn.accounts as a
left join inturn.events as first on first.account_id = a.id and first.seq = 1
left join inturn.events as last on last.account_id = a.id and last.seq = a.processed_seq
left join inturn.events as head on head.account_id = a.id and head.seq = a.processed_seq + 1;
