-- Tries the head again now, without its backoff; if it was blocked, it has all its attempts again.
create or replace function inturn.retry(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(retry.account_id);
begin
  perform inturn.refuse_running(account);
  perform inturn.refuse_idle(account);
  perform inturn.record_operation('retry', account.id, account.processed_seq + 1, who, why);
  return query select inturn.reschedule(account, account.head_attempts), account.processed_seq + 1;
end
$$;
