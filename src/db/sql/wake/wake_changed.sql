-- The one rule of who is woken, and when: every account that was not waiting for a turn and is now, or waits for another time.
-- An account waits for a turn when it is scheduled or retrying, and not paused.
create or replace function inturn.wake_changed() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
-- The two tables are joined by a hash. The caller may have switched that off; a loop would compare each row with all others.
set enable_hashjoin = on
set enable_nestloop = off
as $$
begin
  perform inturn.wake(array_agg(n.id), array_agg(n.epoch), array_agg(n.next_attempt_at))
  from after_change as n join before_change as o on o.id = n.id
  where n.state in ('scheduled', 'retrying') and n.paused_at is null
    and (o.state <> n.state or o.paused_at is not null or o.next_attempt_at is distinct from n.next_attempt_at)
  having count(*) > 0;
  return null;
end
$$;
