-- Ends a move that has not left yet: lets the accounts go on that hold_bucket has stopped, and wakes those that wait. The bucket takes events
-- again; what an operator had paused stays so. Without a mover it ends the move of whoever is at it. Returns false, and changes nothing, when
-- the bucket has left, or somebody else moves it.
create or replace function inturn.thaw_bucket(bucket smallint, mover text) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  woken_jobs bigint;
begin
  update inturn.buckets as b set moving_to = null, mover = null, is_frozen = false
  where b.bucket = thaw_bucket.bucket and b.is_here and (thaw_bucket.mover is null or b.mover = thaw_bucket.mover);
  if not found then
    return false;
  end if;
  with held as materialized (
    select a.id from inturn.accounts as a
    where inturn.bucket_of(a.id) = thaw_bucket.bucket and a.paused_at = 'epoch' order by a.id for update
  ), freed as (
    update inturn.accounts as a set paused_at = null from held as h where a.id = h.id
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  )
  select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at)) into woken_jobs
  from freed as f where f.waits having count(*) > 0;
  return true;
end
$$;
