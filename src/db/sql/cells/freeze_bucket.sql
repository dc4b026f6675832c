-- Takes no more events for a bucket that is being moved, and waits for appends that are under way: they hold its lock (see find_elsewhere).
-- Returns a token: whoever touches the bucket afterwards makes it invalid, and so one of two who move it cannot let it go.
create or replace function inturn.freeze_bucket(bucket smallint) returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  token text;
begin
  perform pg_advisory_xact_lock(1131375727, freeze_bucket.bucket);
  update inturn.buckets as b set is_frozen = true where b.bucket = freeze_bucket.bucket and b.is_here and b.moving_to is not null
  returning b.xmin::text into token;
  return token;
end
$$;
