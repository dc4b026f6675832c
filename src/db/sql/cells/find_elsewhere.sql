-- The first of these accounts, in their order, that may not be appended to here: it lies in another cell, which is named, or its bucket is
-- frozen, then no cell is. No row when all may, as they may where there are no cells: then it costs a look at an empty table.
--
-- Holds the buckets until the transaction ends, so that freeze_bucket waits for appends under way. The look comes after that.
create or replace function inturn.find_elsewhere(account_ids text[])
returns table (account_id text, cell text, index integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from inturn.buckets) then
    return;
  end if;
  perform pg_advisory_xact_lock_shared(1131375727, held.bucket)
  from (select distinct inturn.bucket_of(w.id)::integer as bucket from unnest(account_ids) as w (id) order by 1) as held;
  return query
  select w.id, case when not b.is_here then b.cell end, w.number::integer
  from unnest(account_ids) with ordinality as w (id, number) join inturn.buckets as b on b.bucket = inturn.bucket_of(w.id)
  where not b.is_here or b.is_frozen
  order by w.number limit 1;
end
$$;
