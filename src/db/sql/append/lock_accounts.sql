-- Makes the accounts that are not there yet, and locks them all in id order, so calls from many connections wait for each
-- other and never deadlock.
--
-- Where accounts were erased, a new one begins beyond their epochs (see erase). That is looked up after its row is there: until then
-- another call may still be erasing it.
create or replace function inturn.lock_accounts(account_ids text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  beyond bigint;
begin
  insert into inturn.accounts (id)
  select inturn.check_account_id(fresh.id) collate "C"
  from (
    select distinct wanted.id from unnest(account_ids) as wanted (id)
    where not exists (select from inturn.accounts as a where a.id = wanted.id)
  ) as fresh
  order by 1
  on conflict do nothing;
  if found then
    select f.last_value into beyond from inturn.first_epoch as f;
    if beyond > 0 then
      update inturn.accounts as a set epoch = beyond where a.id = any (account_ids) and a.last_seq = 0 and a.epoch < beyond;
    end if;
  end if;

  perform from inturn.accounts as a where a.id = any (account_ids) order by a.id for update;
end
$$;
