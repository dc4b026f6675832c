-- What a review of the core mended: functions and views again, each as it is from now on.

-- Recovery

-- Takes the workers that are gone off the list, and their accounts from them. A worker is gone when its lease has run out,
-- or when its advisory lock has ended with its process and it has not renewed its lease for `lifeless_ms` either.
--
-- Accounts are only looked for when a worker was found gone, or when `sweeps` says so: a look reads every running account.
--
-- A worker may come up and claim an account while that account is being found orphaned. So each account is judged twice: once
-- to find it, and again after its row is locked, by a statement that begins then and sees every worker that could have
-- claimed it.
--
-- The first takeover is at once. A head whose workers die again and again may be what kills them: it waits longer each time,
-- and at another moment than its neighbours, so that they get through while it rests. From the second attempt on a call of
-- the handler is recorded before it is made; an attempt without that record is not counted.
create function inturn.take_over(
  accounts_max integer,
  life_lock_class integer,
  lifeless_ms integer,
  judges boolean,
  sweeps boolean,
  out workers_gone integer,
  out taken_over integer
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  pools text[];
  orphaned text[];
begin
  workers_gone := 0;
  taken_over := 0;
  if judges then
    with life as materialized (
      select l.objid::bigint as key from pg_locks as l
      where l.locktype = 'advisory' and l.classid = life_lock_class and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    ), gone as (
      delete from inturn.workers as w
      where w.lease_expires_at < clock_timestamp()
        or w.renewed_at < clock_timestamp() - lifeless_ms * interval '1 millisecond'
          and w.life_key is not null and w.life_key not in (select l.key from life as l)
      returning w.graphile_pool
    )
    select count(*), array_agg(g.graphile_pool) filter (where g.graphile_pool is not null) into workers_gone, pools from gone as g;
    -- What graphile-worker had locked for them is free again at once: by itself it would wait for four hours.
    if cardinality(pools) > 0 then
      perform graphile_worker.force_unlock_workers(pools);
    end if;
  end if;
  if workers_gone = 0 and not sweeps then
    return;
  end if;

  -- Found first and put in order then: asked for in one step, the planner may read all accounts in the order of their ids.
  orphaned := array(
    select a.id from inturn.accounts as a
    where a.state = 'running' and not exists (select from inturn.workers as w where w.id = a.lease_worker)
    limit accounts_max
  );
  orphaned := array(
    select a.id from inturn.accounts as a where a.id = any (orphaned) and a.state = 'running' order by a.id for update skip locked
  );
  with judged as (
    select a.id, a.processed_seq < a.last_seq as has_head, a.head_attempts > 1 and a.head_started as failed_again,
      a.head_attempts - (a.head_attempts > 1 and not a.head_started)::integer as attempts
    from inturn.accounts as a
    where a.id = any (orphaned) and a.state = 'running'
      and not exists (select from inturn.workers as w where w.id = a.lease_worker)
  ), freed as (
    update inturn.accounts as a
    set state = case when not j.has_head then 'idle' when j.failed_again then 'retrying' else 'scheduled' end,
      next_attempt_at = case when j.has_head and j.failed_again
        then clock_timestamp() + interval '1 second' * power(2, least(j.attempts - 2, 6)) * (0.5 + random() / 2) end,
      head_attempts = case when j.has_head then j.attempts else 0 end,
      head_error = case when j.has_head then 'the worker that handled it is gone' end,
      state_since = clock_timestamp(), lease_worker = null
    from judged as j where a.id = j.id
    returning a.id, a.epoch, a.next_attempt_at, a.paused_at, a.state
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at))
    from freed as f where f.state <> 'idle' and f.paused_at is null having count(*) > 0
  )
  select count(*) into taken_over from freed left join woken on true;
end
$$;--> statement-breakpoint
revoke execute on function inturn.take_over(integer, integer, integer, boolean, boolean) from public;
--> statement-breakpoint

-- Appending from SQL

-- As before, and right for arrays whose subscripts do not begin at 1: an event was lost where an id stood in one of those twice.
create or replace function inturn.append_events(
  account_ids text[],
  data json[],
  types text[] default null,
  event_ids text[] default null,
  occurred_at timestamptz[] default null
)
returns table (account_id text, seq bigint, duplicate boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
declare
  answer inturn.append_answer;
  events constant integer := cardinality(account_ids);
begin
  if events is distinct from cardinality(append_events.data)
    or cardinality(types) <> events or cardinality(event_ids) <> events or cardinality(append_events.occurred_at) <> events
  then
    raise invalid_parameter_value using
      message = 'append_events: the arrays differ in length',
      hint = 'Give each array one element per event, or null for an array that no event needs.';
  end if;
  -- The elements in their order, numbered from 1, whatever the subscripts were.
  account_ids := array(select e from unnest(account_ids) as e);
  data := array(select e from unnest(append_events.data) as e);
  types := case when types is not null then array(select e from unnest(types) as e) end;
  event_ids := case when event_ids is not null then array(select e from unnest(event_ids) as e) end;
  occurred_at := case when append_events.occurred_at is not null then array(select e from unnest(append_events.occurred_at) as e) end;
  perform inturn.lock_accounts(account_ids);
  for answer in
    select * from inturn.append_locked(account_ids, append_events.data, types, event_ids, append_events.occurred_at, null, null, null)
  loop
    if answer.refusal is not null then
      raise unique_violation using
        message = format('an event id of account %L belongs to an event with other content', answer.account_id),
        constraint = 'events_event_id',
        hint = 'Give every event an id of its own; nothing was stored.';
    end if;
    account_id := answer.account_id;
    seq := answer.seq;
    duplicate := answer.duplicate;
    return next;
  end loop;
end
$$;
--> statement-breakpoint

-- Appends the events of one request to accounts that are locked: all of them, or none. One answer per event, in their order.
-- An event id that its account already has is not stored again: the answer names the seq of the first copy. An account that was
-- idle is woken; one that is paused, or that a worker has in hand with nothing pending, is looked at by who ends that.
--
-- Refused, each with the account's last seq:
--   event_id_reused  the id belongs to an event with other content
--   seq_unexpected   the event would not get the seq that its sender expects
--   account_full     the account would have more than `pending_max` events waiting
create or replace function inturn.append_locked(
  account_ids text[],
  data json[],
  types text[],
  event_ids text[],
  occurred_at timestamptz[],
  metadata json[],
  expected_seqs bigint[],
  pending_max bigint
)
returns setof inturn.append_answer
language plpgsql security definer
set search_path = ''
as $$
declare
  arrived_at timestamptz := clock_timestamp();
begin
  -- The account rows are ours until commit, so their counters can be read like constants. Every join is an index look-up.
  return query
  with incoming as (
    select i.*, a.last_seq, a.processed_seq, a.state = 'idle' and a.paused_at is null as wakes, known.seq as known_seq,
      first_value(i.place) over same_id as first_place,
      known.seq is null and (i.event_id is null or first_value(i.place) over same_id = i.place) as fresh,
      case when known.seq is not null then
        inturn.is_same_event(i.type, i.data, i.occurred_at, known.type, known.data, known.occurred_at)
      end as same_as_known
    from unnest(
        account_ids, append_locked.data, types, event_ids, append_locked.occurred_at, append_locked.metadata, expected_seqs
      ) with ordinality as i (account_id, data, type, event_id, occurred_at, metadata, expected_seq, place)
    join inturn.accounts as a on a.id = i.account_id
    left join inturn.events as known on known.account_id = i.account_id and known.event_id = i.event_id
    window same_id as (partition by i.account_id, i.event_id order by i.place)
  ), placed as materialized (
    select i.*, i.last_seq + count(*) filter (where i.fresh) over (partition by i.account_id order by i.place) as next_seq
    from incoming as i
  ), judged as materialized (
    select p.*, case
      when not p.fresh and not coalesce(p.same_as_known, inturn.is_same_event(
        p.type, p.data, p.occurred_at,
        types[p.first_place], append_locked.data[p.first_place], append_locked.occurred_at[p.first_place]
      )) then 'event_id_reused'
      when p.fresh and p.expected_seq <> p.next_seq then 'seq_unexpected'
      when p.fresh and p.next_seq - p.processed_seq > pending_max then 'account_full'
    end as refusal
    from placed as p
  ), verdict as materialized (
    select exists (select from judged as j where j.refusal is not null) as refused
  ), stored as (
    insert into inturn.events (account_id, seq, event_id, type, data, metadata, occurred_at, received_at, bytes)
    select j.account_id, j.next_seq, j.event_id, j.type, j.data, j.metadata, j.occurred_at, arrived_at,
      octet_length(j.data::text) + coalesce(octet_length(j.metadata::text), 0)
    from judged as j where j.fresh and not (select v.refused from verdict as v)
  ), grown as (
    update inturn.accounts as a
    set last_seq = f.next_seq,
      state = case a.state when 'idle' then 'scheduled' else a.state end,
      state_since = case a.state when 'idle' then arrived_at else a.state_since end
    from (
      select j.account_id, bool_or(j.wakes) as wakes, max(j.next_seq) as next_seq
      from judged as j where j.fresh and not (select v.refused from verdict as v) group by j.account_id
    ) as f
    where a.id = f.account_id
    returning a.id, a.epoch, f.wakes
  ), woken as materialized (
    select inturn.wake(array_agg(g.id), array_agg(g.epoch)) from grown as g where g.wakes having count(*) > 0
  )
  select j.account_id,
    case when not v.refused then
      coalesce(j.known_seq, case when j.fresh then j.next_seq else min(j.next_seq) over (partition by j.account_id, j.event_id) end)
    end,
    not j.fresh,
    j.refusal,
    j.last_seq
  from judged as j cross join verdict as v left join woken on true
  order by j.place;
end
$$;
