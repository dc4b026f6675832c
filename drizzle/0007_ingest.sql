-- The door for servers: many requests in one transaction, each of them stored whole or refused whole, in their order.

-- What became of one event: its place, or, when its request was refused, no place; the event at fault says why.
create type inturn.append_answer as (
  account_id text,
  seq bigint,
  duplicate boolean,
  refusal text,
  current_seq bigint
);--> statement-breakpoint

-- Whether an event that came with a known id is the one that the id belongs to. White space and the order of keys do not count.
create function inturn.is_same_event(
  type text, data json, occurred_at timestamptz, other_type text, other_data json, other_occurred_at timestamptz
)
returns boolean
language sql immutable
set search_path = ''
as $$
  select type is not distinct from other_type and occurred_at is not distinct from other_occurred_at
    and case when data::text = other_data::text then true else data::jsonb = other_data::jsonb end
$$;--> statement-breakpoint

-- Makes the accounts that are not there yet, and locks them all in id order, so calls from many connections wait for each
-- other and never deadlock.
create function inturn.lock_accounts(account_ids text[]) returns void
language plpgsql security definer
set search_path = ''
as $$
begin
  insert into inturn.accounts (id)
  select distinct wanted.id collate "C"
  from unnest(account_ids) as wanted (id)
  where not exists (select from inturn.accounts as a where a.id = wanted.id)
  order by 1
  on conflict do nothing;

  perform from inturn.accounts as a where a.id = any (account_ids) order by a.id for update;
end
$$;--> statement-breakpoint

-- Appends the events of one request to accounts that are locked: all of them, or none. One answer per event, in their order.
-- An event id that its account already has is not stored again: the answer names the seq of the first copy.
--
-- Refused, each with the account's last seq:
--   event_id_reused  the id belongs to an event with other content
--   seq_unexpected   the event would not get the seq that its sender expects
--   account_full     the account would have more than `pending_max` events waiting
create function inturn.append_locked(
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
    select i.*, a.last_seq, a.processed_seq, known.seq as known_seq,
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
    insert into inturn.events (account_id, seq, event_id, type, data, metadata, occurred_at, received_at)
    select j.account_id, j.next_seq, j.event_id, j.type, j.data, j.metadata, j.occurred_at, arrived_at
    from judged as j where j.fresh and not (select v.refused from verdict as v)
  ), grown as (
    update inturn.accounts as a
    set last_seq = f.next_seq,
      state = case a.state when 'idle' then 'scheduled' else a.state end,
      state_since = case a.state when 'idle' then arrived_at else a.state_since end
    from (
      select j.account_id, max(j.last_seq) as last_seq, max(j.next_seq) as next_seq
      from judged as j where j.fresh and not (select v.refused from verdict as v) group by j.account_id
    ) as f
    where a.id = f.account_id
    -- Nothing was pending before, so the account was idle and this call is the one that wakes it.
    returning a.id, a.epoch, a.processed_seq = f.last_seq as was_idle
  ), woken as materialized (
    select inturn.wake(array_agg(g.id), array_agg(g.epoch)) from grown as g where g.was_idle having count(*) > 0
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
$$;--> statement-breakpoint

-- Appends the events of many requests, one after the other; `sizes` says how many events each of them has. A refused request
-- leaves nothing behind, and the others are stored as if it had not been there.
--
-- Plans are pinned to index look-ups: a plan made while the tables were empty would scan them when they are full.
create function inturn.append_requests(
  account_ids text[],
  data json[],
  types text[],
  event_ids text[],
  occurred_at timestamptz[],
  metadata json[],
  expected_seqs bigint[],
  sizes integer[],
  pending_max bigint
)
returns setof inturn.append_answer
language plpgsql security definer
set search_path = ''
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  answer inturn.append_answer;
  size integer;
  first integer := 1;
begin
  perform inturn.lock_accounts(account_ids);
  -- All of them as one request: where that is refused nowhere, none of them would have been refused by itself.
  for answer in
    select * from inturn.append_locked(account_ids, data, types, event_ids, occurred_at, metadata, expected_seqs, pending_max)
  loop
    exit when answer.seq is null;
    return next answer;
  end loop;
  if answer.seq is not null or cardinality(account_ids) = 0 then
    return;
  end if;
  foreach size in array sizes loop
    return query select * from inturn.append_locked(
      account_ids[first:first + size - 1], data[first:first + size - 1], types[first:first + size - 1],
      event_ids[first:first + size - 1], occurred_at[first:first + size - 1], metadata[first:first + size - 1],
      expected_seqs[first:first + size - 1], pending_max
    );
    first := first + size;
  end loop;
end
$$;--> statement-breakpoint

-- Appends many events: all of them or none, in array order, each account's after what it already has.
-- Returns one row per event, in array order. An event id that its account already has is not stored again: the row
-- names the seq of the first copy, with duplicate = true. The same id with other content is a unique violation.
create or replace function inturn.append_events(
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
$$;--> statement-breakpoint

-- As before, and with the event's metadata.
create or replace function inturn.redrive(
  account_id text,
  dead_seq bigint,
  force boolean default false,
  why text default null,
  who text default session_user
)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(redrive.account_id);
  letter inturn.events;
begin
  select * into letter from inturn.events as e
  where e.account_id = account.id and e.seq = dead_seq and e.outcome = 'dead';
  if not found then
    raise exception using errcode = 'IT004', message = format('event %s of account %L is no dead letter', dead_seq, account.id);
  end if;
  perform inturn.record_operation('redrive', account.id, letter.seq, who, why);
  account.dead := account.dead - 1;
  if account.processed_seq = letter.seq and account.state in ('idle', 'scheduled') and account.head_attempts = 0 then
    account.processed_seq := letter.seq - 1;
    update inturn.accounts as a set pruned_seq = least(a.pruned_seq, account.processed_seq) where a.id = account.id;
    update inturn.events as e
    set outcome = null, processed_at = null, started_at = null, duration_ms = null, error = null
    where e.account_id = account.id and e.seq = letter.seq;
    return query select inturn.reschedule(account, letter.attempts), letter.seq;
    return;
  end if;
  if not force then
    raise exception using errcode = 'IT005',
      message = format('events after seq %s of account %L were handled or started already', letter.seq, account.id),
      hint = 'Redrive it with force: a copy is appended at the end of the account.';
  end if;
  account.last_seq := account.last_seq + 1;
  account.skipped := account.skipped + 1;
  insert into inturn.events (account_id, seq, type, data, metadata, occurred_at, received_at)
  values (account.id, account.last_seq, letter.type, letter.data, letter.metadata, letter.occurred_at, clock_timestamp());
  update inturn.events as e set outcome = 'skipped', error = format('redriven as seq %s', account.last_seq)
  where e.account_id = account.id and e.seq = letter.seq;
  update inturn.accounts as a
  set last_seq = account.last_seq, dead = account.dead, skipped = account.skipped
  where a.id = account.id and account.state <> 'idle';
  return query select case account.state when 'idle' then inturn.reschedule(account) else account.state end, account.last_seq;
end
$$;--> statement-breakpoint

-- As before; events that are no longer kept cannot be replayed.
create or replace function inturn.replay(account_id text, from_seq bigint, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  -- One transaction rewrites them all, and holds the account as long.
  events_max constant bigint := 100000;
  account inturn.accounts := inturn.lock_account(replay.account_id);
begin
  perform inturn.refuse_running(account);
  if from_seq is null or from_seq <= account.pruned_seq or from_seq > account.processed_seq then
    raise exception using errcode = 'IT006', message = format('account %L has no settled event %s', account.id, from_seq),
      hint = format('Its settled events that are still kept are %s to %s.', account.pruned_seq + 1, account.processed_seq);
  end if;
  if account.processed_seq - from_seq >= events_max then
    raise exception using errcode = 'IT007',
      message = format('%s events would be replayed, %s at once are the most', account.processed_seq - from_seq + 1, events_max);
  end if;
  select account.dead - count(*) filter (where e.outcome = 'dead'), account.skipped - count(*) filter (where e.outcome = 'skipped')
  into account.dead, account.skipped
  from inturn.events as e where e.account_id = account.id and e.seq between from_seq and account.processed_seq;
  update inturn.events as e
  set outcome = null, processed_at = null, started_at = null, duration_ms = null, attempts = 0, error = null
  where e.account_id = account.id and e.seq between from_seq and account.processed_seq;
  account.processed_seq := from_seq - 1;
  perform inturn.record_operation('replay', account.id, from_seq, who, why);
  return query select inturn.reschedule(account), from_seq;
end
$$;--> statement-breakpoint

-- As before, and right where old events are no longer kept.
create or replace view inturn.account_results as
select
  a.id as account_id,
  case when a.paused_at is not null and a.state <> 'running' then 'paused' else a.state end as state,
  a.last_seq as events,
  a.processed_seq - a.dead - a.skipped as processed,
  a.last_seq - a.processed_seq as pending,
  a.dead,
  head.seq as head_seq,
  case when head.seq is not null then a.head_attempts end as head_attempts,
  a.head_error,
  coalesce(first.received_at, a.created_at) as first_received_at,
  last.processed_at as last_processed_at,
  extract(epoch from clock_timestamp() - head.received_at)::double precision as oldest_pending_seconds,
  case when a.state = 'blocked' then a.state_since end as blocked_since
from inturn.accounts as a
left join inturn.events as first on first.account_id = a.id and first.seq = 1
left join inturn.events as last on last.account_id = a.id and last.seq = a.processed_seq
left join inturn.events as head on head.account_id = a.id and head.seq = a.processed_seq + 1;--> statement-breakpoint

create or replace view inturn.order_violations as
with steps as (
  select
    e.account_id, e.seq, e.started_at, e.processed_at, a.processed_seq, a.pruned_seq,
    lag(e.seq, 1, a.pruned_seq) over step as previous_seq,
    lag(e.processed_at) over step as previous_processed_at
  from inturn.events as e
  join inturn.accounts as a on a.id = e.account_id and e.seq > a.pruned_seq
  window step as (partition by e.account_id order by e.seq)
)
select s.account_id, s.seq, 'gap' as kind, format('the event before it is seq %s', s.previous_seq) as detail
from steps as s where s.seq <> s.previous_seq + 1
union all
select a.id, a.last_seq, 'gap', format('%s of %s events are stored', stored.events, a.last_seq - a.pruned_seq)
from inturn.accounts as a
left join lateral (select count(*) as events from inturn.events as e where e.account_id = a.id and e.seq > a.pruned_seq) as stored on true
where stored.events <> a.last_seq - a.pruned_seq
union all
select s.account_id, s.seq, 'overlap', format('started at %s, its predecessor was settled at %s', s.started_at, coalesce(s.previous_processed_at::text, 'no time'))
from steps as s
where s.seq > s.pruned_seq + 1 and s.started_at is not null and (s.previous_processed_at is null or s.started_at < s.previous_processed_at)
union all
select s.account_id, s.seq, 'settled_out_of_order',
  format('settled at %s, its predecessor at %s', coalesce(s.processed_at::text, 'no time'), coalesce(s.previous_processed_at::text, 'no time'))
from steps as s
where (s.processed_at is not null) <> (s.seq <= s.processed_seq)
  or (s.seq > s.pruned_seq + 1 and s.processed_at < s.previous_processed_at);--> statement-breakpoint

-- As in 0004: appending stays open to whoever may use the schema, the rest does not, and nobody's search path counts.
do $$
declare
  door record;
begin
  for door in
    select p.oid::regprocedure as name, p.proname in ('append_event', 'append_events') as is_open
    from pg_proc as p where p.pronamespace = 'inturn'::regnamespace
  loop
    execute format('alter function %s set search_path = pg_catalog, pg_temp', door.name);
    if not door.is_open then
      execute format('revoke execute on function %s from public', door.name);
    end if;
  end loop;
end
$$;
