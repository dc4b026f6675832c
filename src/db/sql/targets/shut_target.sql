-- Closes a target whose row is locked, and forgets what led to its opening.
create or replace function inturn.shut_target(target inturn.targets) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update inturn.targets as t
  set state = 'closed', since = clock_timestamp(), away_since = null, reason = null, next_probe_at = null, failed_probes = 0,
    probe_account = null, by_hand = false, woken = 0, suspected_since = null, suspected_at = null
  where t.name = target.name;
  delete from inturn.target_attempts as a where a.target = target.name;
end
$$;
