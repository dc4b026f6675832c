-- Says how the probe of a target went. It works: the target is closed, and the accounts that wait are woken little by little
-- (see wake_waiting). It failed: the target is open again, for longer than before.
create or replace function inturn.end_probe(
  target text,
  account_id text,
  succeeded boolean,
  why text default null,
  retry_after_ms double precision default null
)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  found_row inturn.targets;
begin
  select * into found_row from inturn.targets as t
  where t.name = target and t.state = 'half-open' and t.probe_account = end_probe.account_id for update;
  if not found then
    return;
  end if;
  if succeeded then
    perform inturn.shut_target(found_row);
    return;
  end if;
  update inturn.targets as t
  set state = 'open', since = clock_timestamp(), probe_account = null, failed_probes = t.failed_probes + 1,
    reason = coalesce(left(why, 2000), t.reason),
    next_probe_at = clock_timestamp()
      + greatest(inturn.target_backoff(t.failed_probes + 1), coalesce(retry_after_ms, 0) * interval '1 millisecond')
  where t.name = found_row.name;
end
$$;
