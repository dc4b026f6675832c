-- Refuses, with SQLSTATE IT014, to append to accounts that lie in another cell.
create or replace function inturn.require_here(account_ids text[]) returns void
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  elsewhere record;
begin
  select f.account_id, f.cell into elsewhere from inturn.find_elsewhere(account_ids) as f;
  if found then
    raise exception using errcode = 'IT014',
      message = format('account %L lies in the cell %s', elsewhere.account_id, elsewhere.cell),
      hint = 'Nothing was stored. Append to the database of that cell.';
  end if;
end
$$;
