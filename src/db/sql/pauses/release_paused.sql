-- Lets accounts go on that rest because of a pause, those first that have rested longest. `paused_by` stays with those that are woken: under
-- their next claim they may handle one event that this pause still covers. Answers how many there were.
create or replace function inturn.release_paused(pause_id bigint, accounts_max integer) returns integer
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  -- It never waits for a row, so their order can lead to no deadlock.
  with held as materialized (
    select a.id from inturn.accounts as a
    where a.paused_by = pause_id and a.paused_at is not null
    order by a.paused_at
    limit accounts_max
    for update skip locked
  ), freed as (
    update inturn.accounts as a set paused_at = null, paused_by = case when inturn.waits(a.state, null) then a.paused_by end
    from held as h where a.id = h.id
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at))
    from freed as f where f.waits having count(*) > 0
  )
  select count(*)::integer from freed left join woken on true
$$;
