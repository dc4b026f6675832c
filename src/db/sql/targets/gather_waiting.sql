-- Lets the accounts whose head failed shortly before a target was found to be away, or after it, wait for the target, and forgives
-- the attempts: it was no fault of the event's; unless it was there in ten outages already (see OUTAGES_FORGIVEN_MAX). Heads that are retried or blocked for another reason name no target.
create or replace function inturn.gather_waiting(target inturn.targets, accounts_max integer) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  with failed as materialized (
    select a.id from inturn.accounts as a
    where a.state in ('retrying', 'blocked') and a.state <> 'idle' and a.head_target = target.name
      and a.state_since > target.away_since - interval '10 seconds' and a.head_outages < 10
    limit accounts_max
  ), held as materialized (
    select a.id from inturn.accounts as a
    where a.id = any (array(select f.id from failed as f)) and a.state in ('retrying', 'blocked') and a.head_target = target.name
    order by a.id
    for update skip locked
  )
  update inturn.accounts as a
  set state = 'waiting', next_attempt_at = null, parked_until = null, attempts_forgiven = a.head_attempts,
    head_outages = a.head_outages + 1
  from held as h where a.id = h.id
$$;
