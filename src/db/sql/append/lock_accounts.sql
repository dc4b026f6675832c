-- Makes the accounts that are not there yet, and locks them all in id order, so calls from many connections wait for each
-- other and never deadlock.
create or replace function inturn.lock_accounts(account_ids text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into inturn.accounts (id)
  select inturn.check_account_id(fresh.id) collate "C"
  from (
    select distinct wanted.id from unnest(account_ids) as wanted (id)
    where not exists (select from inturn.accounts as a where a.id = wanted.id)
  ) as fresh
  order by 1
  on conflict do nothing;

  perform from inturn.accounts as a where a.id = any (account_ids) order by a.id for update;
end
$$;
