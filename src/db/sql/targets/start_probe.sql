-- Wakes the account that has waited longest for a target whose time to be tried has come: its head is the probe. After a probe that
-- failed, heads that were not tried yet come first: they tell an outage from a crowd of events that fail by their own fault.
create or replace function inturn.start_probe(target inturn.targets) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  account record;
begin
  select a.id, a.epoch into account from inturn.accounts as a
  where a.state = 'waiting' and a.head_target = target.name and a.paused_at is null
  order by target.failed_probes > 0 and a.head_attempts > 0, a.state_since
  limit 1
  for update skip locked;
  if not found then
    return;
  end if;
  update inturn.accounts as a set state = 'scheduled', state_since = clock_timestamp() where a.id = account.id;
  update inturn.targets as t
  set state = 'half-open', since = clock_timestamp(), probe_account = account.id, next_probe_at = null, by_hand = false
  where t.name = target.name;
  perform inturn.wake(array[account.id], array[account.epoch]);
end
$$;
