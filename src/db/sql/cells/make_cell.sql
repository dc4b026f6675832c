-- Makes this database a cell: `cells` has for each bucket, from 0 on, the name of the cell in which its accounts lie. Returns false, and
-- changes nothing, when there are accounts already: by this map they may lie elsewhere.
create or replace function inturn.make_cell(name text, cells text[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Nobody makes an account between this look and the map.
  lock table inturn.accounts in share row exclusive mode;
  if exists (select from inturn.accounts) then
    return false;
  end if;
  insert into inturn.buckets (bucket, cell, is_here)
  select c.number - 1, c.cell, c.cell = make_cell.name from unnest(cells) with ordinality as c (cell, number);
  return true;
end
$$;
