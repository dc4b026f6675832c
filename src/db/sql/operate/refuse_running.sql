-- Refuses a verb that must not run while an event is being handled.
create or replace function inturn.refuse_running(account inturn.accounts) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if account.state = 'running' then
    raise exception using errcode = 'IT002',
      message = format('event %s of account %L is being handled', account.processed_seq + 1, account.id),
      hint = 'Pause the account: it rests once this event is settled or has failed. Then try again.';
  end if;
end
$$;
