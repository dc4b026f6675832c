-- Ends a pause: the account goes on in the state it had.
create or replace function inturn.resume(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(resume.account_id);
begin
  if account.paused_at is not null and account.paused_by is not null then
    raise exception using errcode = 'IT012',
      message = format('account %L rests because of a pause of more than one account', account.id),
      hint = 'End that pause; inturn.pause_status has it.';
  end if;
  update inturn.accounts as a set paused_at = null where a.id = account.id;
  if account.paused_at is not null and inturn.waits(account.state, null) then
    perform inturn.wake(array[account.id], array[account.epoch], array[account.next_attempt_at]);
  end if;
  perform inturn.record_operation('resume', account.id, account.processed_seq + 1, who, why);
  return query select account.state, account.processed_seq + 1;
end
$$;
