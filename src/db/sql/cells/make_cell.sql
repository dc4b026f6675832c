-- Makes this database a cell: `cells` has for each bucket, from 0 on, the name of the cell in which its accounts lie, and `epochs` how
-- often it was moved. Returns false, and changes nothing, when there is an account that would lie elsewhere.
create or replace function inturn.make_cell(name text, cells text[], epochs bigint[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Nobody makes an account between this look and the map.
  lock table inturn.accounts in share row exclusive mode;
  if exists (select from inturn.accounts as a where cells[inturn.bucket_of(a.id) + 1] is distinct from make_cell.name) then
    return false;
  end if;
  insert into inturn.buckets (bucket, cell, here, epoch)
  select c.number - 1, c.cell, make_cell.name, c.epoch
  from unnest(cells, epochs) with ordinality as c (cell, epoch, number);
  -- Who moves a bucket finds its accounts by it. Databases that are no cells need not keep it.
  create index if not exists accounts_bucket on inturn.accounts (inturn.bucket_of(id), id);
  return true;
end
$$;
