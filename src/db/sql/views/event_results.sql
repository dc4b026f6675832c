-- One row per event. `wait_ms` is from received to started, `duration_ms` the handler's own time.
create or replace view inturn.event_results as
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
  inturn.event_state(e.outcome, head.is_head, a.state) as state,
  (extract(epoch from e.started_at - e.received_at) * 1000)::double precision as wait_ms,
  e.duration_ms
from inturn.events as e
join inturn.accounts as a on a.id = e.account_id
cross join lateral (select e.seq = a.processed_seq + 1 as is_head) as head;
