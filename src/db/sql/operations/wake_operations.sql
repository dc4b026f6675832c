-- Finds operations that nobody carries on any more, because their job got lost or whoever had it died without a trace, and gives each a
-- job: a part takes a few seconds at most, and two workers never do the same one. And forgets those that ended
-- a month ago. `operator_log` keeps what they did.
create or replace function inturn.wake_operations() returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  delete from inturn.bulk_operations as o where o.ended_at < clock_timestamp() - interval '30 days';
  select inturn.wake_operation(o.id, null)
  from inturn.bulk_operations as o
  where o.ended_at is null
    and not exists (
      select from graphile_worker.jobs as j where j.key = ('inturn_operate#' || o.id) collate pg_catalog."default"
        and (j.locked_at is null and j.attempts < j.max_attempts or j.locked_at > clock_timestamp() - interval '10 seconds')
    );
$$;
