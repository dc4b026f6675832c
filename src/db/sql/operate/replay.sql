-- Handles again every event from this seq on, in order, whatever its outcome was. Events that are no longer kept cannot be
-- replayed.
create or replace function inturn.replay(account_id text, from_seq bigint, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  -- One transaction rewrites all of them and locks the account as long.
  events_max constant bigint := 100000;
  account inturn.accounts := inturn.lock_account(replay.account_id);
begin
  perform inturn.refuse_running(account);
  if from_seq is null or from_seq <= account.pruned_seq or from_seq > account.processed_seq then
    raise exception using errcode = 'IT006', message = format('account %L has no settled event %s', account.id, from_seq),
      hint = format('Its settled events that are still kept are %s to %s.', account.pruned_seq + 1, account.processed_seq);
  end if;
  if account.processed_seq - from_seq >= events_max then
    raise exception using errcode = 'IT007',
      message = format('%s events would be replayed, %s at once are the most', account.processed_seq - from_seq + 1, events_max);
  end if;
  select account.dead - count(*) filter (where e.outcome = 'dead'), account.skipped - count(*) filter (where e.outcome = 'skipped')
  into account.dead, account.skipped
  from inturn.events as e where e.account_id = account.id and e.seq between from_seq and account.processed_seq;
  update inturn.events as e
  set outcome = null, processed_at = null, started_at = null, duration_ms = null, unsettled_before = null, attempts = 0, error = null
  where e.account_id = account.id and e.seq between from_seq and account.processed_seq;
  account.processed_seq := from_seq - 1;
  perform inturn.record_operation('replay', account.id, from_seq, who, why);
  return query select inturn.reschedule(account), from_seq;
end
$$;
