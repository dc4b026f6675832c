-- Which of these accounts are locked by somebody else at this moment. It locks the others, which takes a right to write that who only
-- appends does not have.
create or replace function inturn.locked_accounts(account_ids text[]) returns setof text
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  with free as materialized (
    select a.id from inturn.accounts as a where a.id = any (account_ids) order by a.id for update skip locked
  )
  select a.id from inturn.accounts as a where a.id = any (account_ids) and not exists (select from free as f where f.id = a.id)
$$;
