-- Pauses an account: no worker claims it until it is resumed, whatever its state. When the answer says `running`, a worker
-- is handling the event with this seq: that attempt ends, and no event starts after it. An account that rests because of a pause of
-- more than one stays paused after the end of that.
create or replace function inturn.pause(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(pause.account_id);
begin
  update inturn.accounts as a set paused_at = coalesce(a.paused_at, clock_timestamp()), paused_by = null where a.id = account.id;
  perform inturn.record_operation('pause', account.id, account.processed_seq + 1, who, why);
  return query select case account.state when 'running' then 'running' else 'paused' end, account.processed_seq + 1;
end
$$;
