-- Stops the accounts of a bucket that is being moved: no event of them starts, those that are being handled are settled. It is a pause with
-- a time of its own, 1970, by which thaw_bucket and arrive_bucket know it; those that rest because of a pause of more than one account are
-- held by it instead. Returns how many accounts are still running.
create or replace function inturn.hold_bucket(bucket smallint, mover text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform inturn.lock_mover(bucket, mover);
  with held as materialized (
    select a.id from inturn.accounts as a
    where inturn.bucket_of(a.id) = hold_bucket.bucket and (a.paused_at is null or a.paused_by is not null) order by a.id for update
  )
  update inturn.accounts as a set paused_at = 'epoch', paused_by = null from held as h where a.id = h.id;
  return (
    select count(*) from inturn.accounts as a where inturn.bucket_of(a.id) = hold_bucket.bucket and a.state = 'running'
  );
end
$$;
