-- The first of these accounts, in their order, that lies in another cell, and the name of that cell; no row when all lie here, as they do
-- where there are no cells: then it costs a look at an empty table.
create or replace function inturn.find_elsewhere(account_ids text[])
returns table (account_id text, cell text, index integer)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from inturn.buckets as b where not b.is_here) then
    return;
  end if;
  return query
  select w.id, b.cell, w.number::integer
  from unnest(account_ids) with ordinality as w (id, number) join inturn.buckets as b on b.bucket = inturn.bucket_of(w.id)
  where not b.is_here
  order by w.number limit 1;
end
$$;
