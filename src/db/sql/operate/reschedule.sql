-- Gives an account its next state after a verb: idle when no event is pending, else scheduled with a wake-up. Its head has all
-- attempts again: `attempts` of them were made before and are forgiven.
create or replace function inturn.reschedule(account inturn.accounts, attempts integer default 0) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  next_state text := case when account.processed_seq = account.last_seq then 'idle' else 'scheduled' end;
begin
  update inturn.accounts as a
  set last_seq = account.last_seq, processed_seq = account.processed_seq, dead = account.dead, skipped = account.skipped,
    state = next_state, state_since = clock_timestamp(), next_attempt_at = null, parked_until = null,
    head_attempts = attempts, attempts_forgiven = attempts, head_error = null, head_target = null, head_outages = 0,
    snoozed_since = null
  where a.id = account.id;
  if inturn.waits(next_state, account.paused_at) then
    perform inturn.wake(array[account.id], array[account.epoch]);
  end if;
  return case when account.paused_at is null then next_state else 'paused' end;
end
$$;
