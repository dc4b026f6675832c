-- Opens a target: a handler said that it is away, or too many attempts failed. One that is open already is left alone for longer
-- when the handler says so, unless a person opened it. Answers whether it is away now.
create or replace function inturn.trip_target(target text, why text, retry_after_ms double precision default null) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  found_row inturn.targets := inturn.lock_target(target);
  not_before timestamptz := clock_timestamp() + coalesce(retry_after_ms, 0) * interval '1 millisecond';
begin
  if found_row.name is null then
    return false;
  end if;
  if found_row.state = 'closed' then
    update inturn.targets as t
    set state = 'open', since = clock_timestamp(), away_since = clock_timestamp(), reason = left(why, 2000), failed_probes = 0,
      by_hand = false, suspected_since = null, suspected_at = null,
      next_probe_at = greatest(not_before, clock_timestamp() + inturn.target_backoff(0))
    where t.name = found_row.name;
  elsif found_row.state = 'open' and not found_row.by_hand then
    update inturn.targets as t set next_probe_at = greatest(t.next_probe_at, not_before) where t.name = found_row.name;
  end if;
  return true;
end
$$;
