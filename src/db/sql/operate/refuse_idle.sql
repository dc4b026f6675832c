-- Refuses a verb that needs a pending event.
create or replace function inturn.refuse_idle(account inturn.accounts) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if account.processed_seq = account.last_seq then
    raise exception using errcode = 'IT003', message = format('no event of account %L is pending', account.id);
  end if;
end
$$;
