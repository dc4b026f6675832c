-- The SQL doors: what anybody may call inside a transaction of their own, and the one place that adds a graphile job.

-- Accounts are updated once an event: room in the page keeps those updates HOT, and their index entries where they are.
alter table inturn.accounts set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);--> statement-breakpoint
-- An event is updated once in its life, when it is settled.
alter table inturn.events set (fillfactor = 80);--> statement-breakpoint

-- Adds the wake-up job of each account: the only add_job of the project. A wake-up is a hint; the account row is the truth.
--
-- The job key is the account and its epoch. One epoch is scheduled once, so a wake-up never meets the row of an earlier
-- one that graphile-worker is still completing: there is no row lock to wait for, no deadlock with its batched
-- completions, and no add_job that returns NULL because the row was taken at that moment (graphile/worker #580).
--
-- Before graphile-worker has made its schema there is nobody to wake: the reconciler finds those accounts later.
create function inturn.wake(account_ids text[], epochs bigint[], run_at timestamptz[] default null)
returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
  jobs integer;
begin
  if cardinality(account_ids) = 0 or to_regtype('graphile_worker.job_spec') is null then
    return 0;
  end if;
  select count(*) into jobs
  from graphile_worker.add_jobs(array(
    select row(
      'inturn_turn', json_build_object('accountId', w.account_id), null, w.run_at, null, w.account_id || '#' || w.epoch, null, null
    )::graphile_worker.job_spec
    from unnest(account_ids, epochs, wake.run_at) as w (account_id, epoch, run_at)
  ));
  return jobs;
end
$$;--> statement-breakpoint

-- Appends many events: all of them or none, in array order, each account's after what it already has.
-- Returns one row per event, in array order. An event id that its account already has is not stored again: the row
-- names the seq of the first copy, with duplicate = true.
--
-- Locks the account rows in id order, so calls from many connections wait for each other and never deadlock.
-- Plans are pinned to index look-ups: a plan made while the tables were empty would scan them when they are full.
create function inturn.append_events(
  account_ids text[],
  data json[],
  types text[] default null,
  event_ids text[] default null,
  occurred_at timestamptz[] default null
)
returns table (account_id text, seq bigint, duplicate boolean)
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  arrived_at timestamptz;
begin
  if cardinality(account_ids) is distinct from cardinality(append_events.data)
    or cardinality(coalesce(types, account_ids)) <> cardinality(account_ids)
    or cardinality(coalesce(event_ids, account_ids)) <> cardinality(account_ids)
    or cardinality(coalesce(append_events.occurred_at, array_fill(null::timestamptz, array[cardinality(account_ids)]))) <> cardinality(account_ids)
  then
    raise invalid_parameter_value using
      message = 'append_events: the arrays differ in length',
      hint = 'Give each array one element per event, or null for an array that no event needs.';
  end if;

  insert into inturn.accounts (id)
  select distinct wanted.id collate "C"
  from unnest(account_ids) as wanted (id)
  where not exists (select from inturn.accounts as a where a.id = wanted.id)
  order by 1
  on conflict do nothing;

  perform from inturn.accounts as a where a.id = any (account_ids) order by a.id for update;
  arrived_at := clock_timestamp();

  -- The account rows are ours until commit, so their counters can be read like constants. Every join is an index look-up.
  return query
  with incoming as (
    select i.*, a.last_seq, known.seq as known_seq,
      known.seq is null
        and (i.event_id is null or row_number() over (partition by i.account_id, i.event_id order by i.place) = 1) as fresh
    from unnest(account_ids, append_events.data, types, event_ids, append_events.occurred_at)
      with ordinality as i (account_id, data, type, event_id, occurred_at, place)
    join inturn.accounts as a on a.id = i.account_id
    left join inturn.events as known on known.account_id = i.account_id and known.event_id = i.event_id
  ), placed as materialized (
    select i.*, i.last_seq + count(*) filter (where i.fresh) over (partition by i.account_id order by i.place) as next_seq
    from incoming as i
  ), stored as (
    insert into inturn.events (account_id, seq, event_id, type, data, occurred_at, received_at)
    select p.account_id, p.next_seq, p.event_id, p.type, p.data, p.occurred_at, arrived_at
    from placed as p where p.fresh
  ), grown as (
    update inturn.accounts as a
    set last_seq = f.next_seq,
      state = case a.state when 'idle' then 'scheduled' else a.state end,
      state_since = case a.state when 'idle' then arrived_at else a.state_since end
    from (select p.account_id, max(p.last_seq) as last_seq, max(p.next_seq) as next_seq from placed as p where p.fresh group by p.account_id) as f
    where a.id = f.account_id
    -- Nothing was pending before, so the account was idle and this call is the one that wakes it.
    returning a.id, a.epoch, a.processed_seq = f.last_seq as was_idle
  ), woken as materialized (
    select inturn.wake(array_agg(g.id), array_agg(g.epoch)) from grown as g where g.was_idle having count(*) > 0
  )
  select p.account_id,
    coalesce(p.known_seq, case when p.fresh then p.next_seq else min(p.next_seq) over (partition by p.account_id, p.event_id) end),
    not p.fresh
  from placed as p left join woken on true
  order by p.place;
end
$$;--> statement-breakpoint

-- Appends one event and says which place it got. See append_events.
create function inturn.append_event(
  account_id text,
  data json,
  type text default null,
  event_id text default null
)
returns table (seq bigint, duplicate boolean)
language sql security definer
set search_path = ''
as $$
  select a.seq, a.duplicate
  from inturn.append_events(array[account_id], array[data], array[type], array[event_id]) as a
$$;
