-- Deletes accounts of a bucket that does not lie here, with everything of them, some at a time: what it has left behind, or, with the token of
-- who moves it here, what was copied of it. Returns how many there were; 0 when none is left.
create or replace function inturn.clean_bucket(bucket smallint, mover text, accounts_max integer) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  ids text[];
begin
  perform from inturn.buckets as b
  where b.bucket = clean_bucket.bucket and not b.is_here
    and case when clean_bucket.mover is null then b.moving_to is not null else b.mover = clean_bucket.mover end
  for update;
  if not found then
    raise exception using errcode = 'IT016', message = format('bucket %s is moved by somebody else', clean_bucket.bucket);
  end if;
  ids := array(
    select a.id::text from inturn.accounts as a where inturn.bucket_of(a.id) = clean_bucket.bucket order by a.id limit accounts_max for update
  );
  delete from inturn.events as e where e.account_id = any (ids);
  delete from inturn.attempts as t where t.account_id = any (ids);
  delete from inturn.accounts as a where a.id = any (ids);
  return cardinality(ids);
end
$$;
