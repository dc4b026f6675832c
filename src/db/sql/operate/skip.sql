-- Settles the head as skipped: it is not handled, and the account goes on with the event after it.
create or replace function inturn.skip(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(skip.account_id);
begin
  perform inturn.refuse_running(account);
  perform inturn.refuse_idle(account);
  account.processed_seq := account.processed_seq + 1;
  account.skipped := account.skipped + 1;
  update inturn.events as e
  set outcome = 'skipped', processed_at = clock_timestamp(), attempts = account.head_attempts, error = account.head_error
  where e.account_id = account.id and e.seq = account.processed_seq;
  perform inturn.record_operation('skip', account.id, account.processed_seq, who, why);
  return query select inturn.reschedule(account), account.processed_seq;
end
$$;
