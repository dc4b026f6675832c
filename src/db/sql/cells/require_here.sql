-- Refuses to append to accounts that lie in another cell, with SQLSTATE IT014, or that are being moved to one, with IT015.
create or replace function inturn.require_here(account_ids text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  elsewhere record;
begin
  select f.account_id, f.cell into elsewhere from inturn.find_elsewhere(account_ids) as f;
  if not found then
    return;
  end if;
  if elsewhere.cell is null then
    raise exception using errcode = 'IT015',
      message = format('account %L is being moved to another cell', elsewhere.account_id),
      hint = 'Nothing was stored. Try again in a second.';
  end if;
  raise exception using errcode = 'IT014',
    message = format('account %L lies in the cell %s', elsewhere.account_id, elsewhere.cell),
    hint = 'Nothing was stored. Append to the database of that cell.';
end
$$;
