-- Takes no more events for a bucket that is being moved, and waits for appends that are under way: they hold its lock (see find_elsewhere).
create or replace function inturn.freeze_bucket(bucket smallint, mover text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(1131375727, freeze_bucket.bucket);
  perform inturn.lock_mover(bucket, mover);
  update inturn.buckets as b set is_frozen = true where b.bucket = freeze_bucket.bucket;
end
$$;
