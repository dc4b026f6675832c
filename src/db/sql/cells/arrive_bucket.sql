-- The bucket lies here from now on. All of its rows have been copied here, and the cell that had it has let it go: its accounts go on.
--
-- Those that waited for a target, or rested because of a pause of more than one account, ask again: targets and pauses are each cell's own.
create or replace function inturn.arrive_bucket(bucket smallint, epoch bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  woken_jobs bigint;
begin
  update inturn.buckets as b set cell = b.here, epoch = arrive_bucket.epoch, moving_to = null, mover = null where b.bucket = arrive_bucket.bucket;
  with held as materialized (
    select a.id from inturn.accounts as a where inturn.bucket_of(a.id) = arrive_bucket.bucket order by a.id for update
  ), freed as (
    update inturn.accounts as a
    set paused_at = nullif(a.paused_at, 'epoch'), state = case a.state when 'waiting' then 'scheduled' else a.state end, epoch = a.epoch + 1
    from held as h where a.id = h.id
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  )
  select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at)) into woken_jobs
  from freed as f where f.waits having count(*) > 0;
end
$$;
