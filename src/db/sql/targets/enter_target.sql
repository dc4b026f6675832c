-- Asks whether an event of this account may start: `go`, `wait`, or `probe`, when it is the one event by which the target is
-- tried. When its time to be tried has come and no account waits, the next event that asks is the probe.
create or replace function inturn.enter_target(target text, account_id text) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  found_row inturn.targets;
begin
  select * into found_row from inturn.targets as t where t.name = target;
  if found_row.name is null or found_row.state = 'closed' then
    return 'go';
  end if;
  if found_row.state = 'half-open' then
    return case when found_row.probe_account = account_id then 'probe' else 'wait' end;
  end if;
  if coalesce(found_row.next_probe_at > clock_timestamp(), true)
    or exists (select from inturn.accounts as a where a.state = 'waiting' and a.head_target = target and a.paused_at is null)
  then
    return 'wait';
  end if;
  -- Of all who come to this point at once, one is the probe.
  select * into found_row from inturn.targets as t where t.name = target for update;
  if found_row.state = 'closed' then
    return 'go';
  elsif found_row.state = 'half-open' or coalesce(found_row.next_probe_at > clock_timestamp(), true) then
    return 'wait';
  end if;
  update inturn.targets as t
  set state = 'half-open', since = clock_timestamp(), probe_account = enter_target.account_id, next_probe_at = null, by_hand = false
  where t.name = found_row.name;
  return 'probe';
end
$$;
