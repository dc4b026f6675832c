-- One row per operation on many accounts: how far it is. `left_out` says why accounts were not changed: a count for each code.
create or replace view inturn.operation_status as
select
  o.id,
  o.verb,
  o.filter,
  case when o.cancelled_at is not null then 'cancelled' when o.ended_at is not null then 'done' else 'running' end as state,
  o.matched,
  o.tried,
  coalesce(outcomes.done, 0) as done,
  outcomes.left_out,
  o.rate,
  o.who,
  o.why,
  o.created_at,
  o.ended_at
from inturn.bulk_operations as o
left join lateral (
  select sum(c.accounts) filter (where c.outcome = 'done')::bigint as done,
    json_object_agg(c.outcome, c.accounts order by c.outcome) filter (where c.outcome <> 'done') as left_out
  from (
    select i.outcome, count(*) as accounts from inturn.bulk_operation_items as i
    where i.operation_id = o.id and i.outcome is not null group by i.outcome
  ) as c
) as outcomes on true;
