-- Wakes accounts that wait for a target that is closed, in the order in which they have waited: 16 in the first second, twice as
-- many in each second after it, so that a system that has just come back is not met by all of them at once.
create or replace function inturn.wake_waiting(target inturn.targets, accounts_max integer) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  first_second constant integer := 16;
  seconds double precision := extract(epoch from clock_timestamp() - target.since);
  allowed bigint := ceil(first_second * (power(2, least(seconds, 30)) - 1))::bigint - target.woken;
  accounts integer;
begin
  if allowed <= 0 then
    return;
  end if;
  with longest as materialized (
    select a.id from inturn.accounts as a
    where a.state = 'waiting' and a.head_target = target.name
    order by a.state_since
    limit least(allowed, accounts_max)
  ), held as materialized (
    select a.id from inturn.accounts as a
    where a.id = any (array(select l.id from longest as l)) and a.state = 'waiting' and a.head_target = target.name
    order by a.id
    for update skip locked
  ), freed as (
    update inturn.accounts as a set state = 'scheduled', state_since = clock_timestamp()
    from held as h where a.id = h.id
    returning a.id, a.epoch, inturn.waits(a.state, a.paused_at) as waits
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch)) from freed as f where f.waits having count(*) > 0
  )
  select count(*) into accounts from freed left join woken on true;
  update inturn.targets as t set woken = t.woken + accounts where t.name = target.name;
end
$$;
