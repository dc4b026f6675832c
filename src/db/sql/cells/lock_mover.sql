-- Refuses, with SQLSTATE IT016, who does not move this bucket any more: another mover has put its own token there. Every step of a move that
-- writes does so first, in both cells, and holds the bucket's row until it is done: one that was stopped for long can spoil nothing.
create or replace function inturn.lock_mover(bucket smallint, mover text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform from inturn.buckets as b where b.bucket = lock_mover.bucket and b.mover = lock_mover.mover for update;
  if not found then
    raise exception using errcode = 'IT016', message = format('bucket %s is moved by somebody else', lock_mover.bucket);
  end if;
end
$$;
