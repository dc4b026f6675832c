-- Assembled from src/db/sql/ by tools/assemble-sql.ts: change the files there, then run "npm run assemble".

-- A function may be made before what it uses.
set local check_function_bodies = off;
--> statement-breakpoint
-- storage.sql

-- How the tables are stored.

-- Accounts are updated about once an event: room in the page keeps those updates HOT, so that indexes are not written.
alter table inturn.accounts set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- An event is updated once, when it is settled.
alter table inturn.events set (fillfactor = 80);
--> statement-breakpoint
-- append/append_answer.sql

-- What became of one event: its seq, or, when its request was refused, no seq; the event that was refused says why.
--
-- PostgreSQL has no "create or replace type": a release that changes it drops it first, with the functions that return it.
do $$
begin
  if to_regtype('inturn.append_answer') is null then
    create type inturn.append_answer as (account_id text, seq bigint, duplicate boolean, refusal text, current_seq bigint);
  end if;
end
$$;
--> statement-breakpoint
-- append/append_event.sql

-- Appends one event and returns its seq. See append_events.
create or replace function inturn.append_event(
  account_id text,
  data json,
  type text default null,
  event_id text default null
)
returns table (seq bigint, duplicate boolean)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.seq, a.duplicate
  from inturn.append_events(array[account_id], array[data], array[type], array[event_id]) as a
$$;
--> statement-breakpoint
-- append/append_events.sql

-- Appends many events: all of them or none, in array order, each account's after those it already has.
-- Returns one row per event, in array order. An event id that its account already has is not stored again: the row
-- names the seq of the first copy, with duplicate = true. The same id with other content is a unique violation; an account of another
-- cell is SQLSTATE IT014, one that is being moved to another cell IT015.
--
-- Anybody who may use the schema may call it, inside a transaction of their own: the events exist when that commits.
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
  perform inturn.require_here(account_ids);
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
-- append/append_json.sql

-- Appends the events of a JSON array, all of them or none, with everything that an event may have: `accountId`, `data`, `type`, `id`,
-- `time`, `metadata` and `expectedSeq`. Returns one row per event, in array order. See append_events.
--
-- Refused, with nothing stored: SQLSTATE 23505 when an id belongs to an event with other content, IT013 when an event would not get the
-- seq that it expects, IT014 when an account lies in another cell, IT015 when it is being moved to one.
create or replace function inturn.append_json(events json)
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
  elements constant json[] := array(select e from json_array_elements(events) with ordinality as j (e, n) order by j.n);
  account_ids constant text[] := array(select e ->> 'accountId' from unnest(elements) as e);
  answer inturn.append_answer;
begin
  perform inturn.require_here(account_ids);
  perform inturn.lock_accounts(account_ids);
  for answer in
    select * from inturn.append_locked(
      account_ids,
      array(select coalesce(e -> 'data', 'null') from unnest(elements) as e),
      array(select e ->> 'type' from unnest(elements) as e),
      array(select e ->> 'id' from unnest(elements) as e),
      array(select (e ->> 'time')::timestamptz from unnest(elements) as e),
      array(select case when json_typeof(e -> 'metadata') = 'object' then e -> 'metadata' end from unnest(elements) as e),
      array(select (e ->> 'expectedSeq')::bigint from unnest(elements) as e),
      null
    )
  loop
    if answer.refusal = 'seq_unexpected' then
      raise exception using errcode = 'IT013',
        message = format('an event would not get the seq that it expects: the last seq of account %L is %s', answer.account_id, answer.current_seq),
        hint = 'Nothing was stored.';
    elsif answer.refusal is not null then
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
-- append/append_locked.sql

-- Appends the events of one request to accounts that are locked: all of them, or none. One answer per event, in their order.
-- An event id that its account already has is not stored again: the answer names the seq of the first copy.
--
-- An account that was idle is woken. A paused account is woken by resume; an account that is running without pending events
-- is checked for new ones by its worker.
--
-- Refused, each with the account's last seq:
--   event_id_reused  the id belongs to an event with other content
--   seq_unexpected   the event would not get the seq that its sender expects
--   account_full     the account would have more than `pending_max` pending events
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
set search_path = pg_catalog, pg_temp
as $$
declare
  arrived_at timestamptz := clock_timestamp();
begin
  -- The account rows are ours until commit, so their counters can be read like constants. Every join is an index look-up.
  return query
  with incoming as (
    select i.*, a.last_seq, a.processed_seq, a.state = 'idle' as is_idle, known.seq as known_seq,
      first_value(i.position) over same_id as first_position,
      known.seq is null and (i.event_id is null or first_value(i.position) over same_id = i.position) as fresh,
      case when known.seq is not null then
        inturn.is_same_event(i.type, i.data, i.occurred_at, known.type, known.data, known.occurred_at)
      end as same_as_known
    from unnest(
        account_ids, append_locked.data, types, event_ids, append_locked.occurred_at, append_locked.metadata, expected_seqs
      ) with ordinality as i (account_id, data, type, event_id, occurred_at, metadata, expected_seq, position)
    join inturn.accounts as a on a.id = i.account_id
    left join inturn.events as known on known.account_id = i.account_id and known.event_id = i.event_id
    window same_id as (partition by i.account_id, i.event_id order by i.position)
  ), placed as materialized (
    select i.*, i.last_seq + count(*) filter (where i.fresh) over (partition by i.account_id order by i.position) as next_seq
    from incoming as i
  ), judged as materialized (
    select p.*, case
      when not p.fresh and not coalesce(p.same_as_known, inturn.is_same_event(
        p.type, p.data, p.occurred_at,
        types[p.first_position], append_locked.data[p.first_position], append_locked.occurred_at[p.first_position]
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
      select j.account_id, bool_or(j.is_idle) as was_idle, max(j.next_seq) as next_seq
      from judged as j where j.fresh and not (select v.refused from verdict as v) group by j.account_id
    ) as f
    where a.id = f.account_id
    returning a.id, a.epoch, f.was_idle and inturn.waits(a.state, a.paused_at) as wakes
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
  order by j.position;
end
$$;
--> statement-breakpoint
-- append/append_requests.sql

-- Appends the events of many HTTP requests in one transaction, one request after the other; `sizes` says how many events
-- each request has. A refused request stores nothing, and the others are stored as if it had not been sent. Here it is refused, too,
-- when an account lies in another cell (wrong_cell) or is being moved to one (bucket_moving).
--
-- Plans are pinned to index look-ups: a plan made while the tables were empty would scan them when they are full.
create or replace function inturn.append_requests(
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
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  answer inturn.append_answer;
  size integer;
  first integer := 1;
  some_elsewhere constant boolean := exists (select from inturn.find_elsewhere(account_ids));
  elsewhere record;
begin
  -- Accounts that lie in another cell are not made here.
  perform inturn.lock_accounts(case when some_elsewhere then array(
    select w.id from unnest(account_ids) as w (id) where not exists (select from inturn.find_elsewhere(array[w.id]))
  ) else account_ids end);
  -- First all of them as one request: when that is not refused, none of them would be refused alone.
  if not some_elsewhere then
    for answer in
      select * from inturn.append_locked(account_ids, data, types, event_ids, occurred_at, metadata, expected_seqs, pending_max)
    loop
      exit when answer.seq is null;
      return next answer;
    end loop;
    if answer.seq is not null or cardinality(account_ids) = 0 then
      return;
    end if;
  end if;
  foreach size in array sizes loop
    select f.index, case when f.cell is null then 'bucket_moving' else 'wrong_cell' end as refusal into elsewhere from inturn.find_elsewhere(account_ids[first:first + size - 1]) as f;
    if found then
      return query select w.id, null::bigint, null::boolean, case when w.number = elsewhere.index then elsewhere.refusal end, null::bigint
      from unnest(account_ids[first:first + size - 1]) with ordinality as w (id, number) order by w.number;
    else
      return query select * from inturn.append_locked(
        account_ids[first:first + size - 1], data[first:first + size - 1], types[first:first + size - 1],
        event_ids[first:first + size - 1], occurred_at[first:first + size - 1], metadata[first:first + size - 1],
        expected_seqs[first:first + size - 1], pending_max
      );
    end if;
    first := first + size;
  end loop;
end
$$;
--> statement-breakpoint
-- append/check_account_id.sql

-- Returns the id of a new account, or refuses it. "." and ".." cannot be a part of a URL's path, and control characters do not
-- look like what they are. Old accounts are not checked again: every append would pay for it.
create or replace function inturn.check_account_id(id text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if id in ('.', '..') or char_length(id) not between 1 and 250 or id ~ '[\u0001-\u001f\u007f-\u009f]' then
    raise invalid_parameter_value using
      message = format('%L cannot be the id of an account', left(id, 60)),
      hint = 'An id has 1 to 250 characters, no control characters, and is not "." or "..".';
  end if;
  return id;
end
$$;
--> statement-breakpoint
-- append/is_same_event.sql

-- Whether two events with the same id are the same event. White space in the data and the order of its keys do not count.
create or replace function inturn.is_same_event(
  type text, data json, occurred_at timestamptz, other_type text, other_data json, other_occurred_at timestamptz
)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select type is not distinct from other_type and occurred_at is not distinct from other_occurred_at
    and case when data::text = other_data::text then true else data::jsonb = other_data::jsonb end
$$;
--> statement-breakpoint
-- append/lock_accounts.sql

-- Makes the accounts that are not there yet, and locks them all in id order, so calls from many connections wait for each
-- other and never deadlock.
--
-- Where accounts were erased, a new one begins beyond their epochs (see erase). That is looked up after its row is there: until then
-- another call may still be erasing it.
create or replace function inturn.lock_accounts(account_ids text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  beyond bigint;
begin
  insert into inturn.accounts (id)
  select inturn.check_account_id(fresh.id) collate "C"
  from (
    select distinct wanted.id from unnest(account_ids) as wanted (id)
    where not exists (select from inturn.accounts as a where a.id = wanted.id)
  ) as fresh
  order by 1
  on conflict do nothing;
  if found then
    select f.last_value into beyond from inturn.first_epoch as f;
    if beyond > 0 then
      update inturn.accounts as a set epoch = beyond where a.id = any (account_ids) and a.last_seq = 0 and a.epoch < beyond;
    end if;
  end if;

  perform from inturn.accounts as a where a.id = any (account_ids) order by a.id for update;
end
$$;
--> statement-breakpoint
-- append/locked_accounts.sql

-- Which of these accounts are locked by somebody else at this moment. It locks the others, which takes a right to write that who only
-- appends does not have.
create or replace function inturn.locked_accounts(account_ids text[]) returns setof text
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  with free as materialized (
    select a.id from inturn.accounts as a where a.id = any (account_ids) order by a.id for update skip locked
  )
  select a.id from inturn.accounts as a where a.id = any (account_ids) and not exists (select from free as f where f.id = a.id)
$$;
--> statement-breakpoint
-- cells/arrive_bucket.sql

-- The bucket lies here from now on. All of its rows have been copied here, and the cell that had it has let it go: its accounts go on.
--
-- Those that waited for a target, or rested because of a pause of more than one account, ask again: targets and pauses are each cell's own.
create or replace function inturn.arrive_bucket(bucket smallint, epoch bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  woken_jobs bigint;
begin
  update inturn.buckets as b set cell = b.here, epoch = arrive_bucket.epoch, moving_to = null, mover = null where b.bucket = arrive_bucket.bucket;
  with held as materialized (
    select a.id from inturn.accounts as a where inturn.bucket_of(a.id) = arrive_bucket.bucket order by a.id for update
  ), freed as (
    update inturn.accounts as a
    set paused_at = nullif(a.paused_at, 'epoch'), state = case a.state when 'waiting' then 'scheduled' else a.state end, epoch = a.epoch + 1
    from held as h where a.id = h.id
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  )
  select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at)) into woken_jobs
  from freed as f where f.waits having count(*) > 0;
end
$$;
--> statement-breakpoint
-- cells/bucket_of.sql

-- The bucket of an account, 0 to 255: the first byte of the SHA-256 of its id. The program computes the same (src/engine/bucket.ts), on any
-- version and with any locale.
create or replace function inturn.bucket_of(account_id text) returns smallint
language sql immutable strict parallel safe
return get_byte(pg_catalog.sha256(pg_catalog.convert_to(account_id, 'UTF8')), 0)::smallint;
--> statement-breakpoint
-- cells/clean_bucket.sql

-- Deletes accounts of a bucket that does not lie here, with everything of them, some at a time: what it has left behind, or, with the token of
-- who moves it here, what was copied of it. Returns how many there were; 0 when none is left.
create or replace function inturn.clean_bucket(bucket smallint, mover text, accounts_max integer) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  ids text[];
begin
  perform from inturn.buckets as b
  where b.bucket = clean_bucket.bucket and not b.is_here
    and case when clean_bucket.mover is null then b.moving_to is not null else b.mover = clean_bucket.mover end
  for update;
  if not found then
    raise exception using errcode = 'IT016', message = format('bucket %s is moved by somebody else', clean_bucket.bucket);
  end if;
  ids := array(
    select a.id::text from inturn.accounts as a where inturn.bucket_of(a.id) = clean_bucket.bucket order by a.id limit accounts_max for update
  );
  delete from inturn.events as e where e.account_id = any (ids);
  delete from inturn.attempts as t where t.account_id = any (ids);
  delete from inturn.accounts as a where a.id = any (ids);
  return cardinality(ids);
end
$$;
--> statement-breakpoint
-- cells/find_elsewhere.sql

-- The first of these accounts, in their order, that may not be appended to here: it lies in another cell, which is named, or its bucket is
-- frozen, then no cell is. No row when all may, as they may where there are no cells: then it costs a look at an empty table.
--
-- Holds the buckets until the transaction ends, so that freeze_bucket waits for appends under way. The look comes after that.
create or replace function inturn.find_elsewhere(account_ids text[])
returns table (account_id text, cell text, index integer)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from inturn.buckets) then
    return;
  end if;
  perform pg_advisory_xact_lock_shared(1131375727, held.bucket)
  from (select distinct inturn.bucket_of(w.id)::integer as bucket from unnest(account_ids) as w (id) order by 1) as held;
  return query
  select w.id, case when not b.is_here then b.cell end, w.number::integer
  from unnest(account_ids) with ordinality as w (id, number) join inturn.buckets as b on b.bucket = inturn.bucket_of(w.id)
  where not b.is_here or b.is_frozen
  order by w.number limit 1;
end
$$;
--> statement-breakpoint
-- cells/freeze_bucket.sql

-- Takes no more events for a bucket that is being moved, and waits for appends that are under way: they hold its lock (see find_elsewhere).
create or replace function inturn.freeze_bucket(bucket smallint, mover text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(1131375727, freeze_bucket.bucket);
  perform inturn.lock_mover(bucket, mover);
  update inturn.buckets as b set is_frozen = true where b.bucket = freeze_bucket.bucket;
end
$$;
--> statement-breakpoint
-- cells/hold_bucket.sql

-- Stops the accounts of a bucket that is being moved: no event of them starts, those that are being handled are settled. It is a pause with
-- a time of its own, 1970, by which thaw_bucket and arrive_bucket know it; those that rest because of a pause of more than one account are
-- held by it instead. Returns how many accounts are still running.
create or replace function inturn.hold_bucket(bucket smallint, mover text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform inturn.lock_mover(bucket, mover);
  with held as materialized (
    select a.id from inturn.accounts as a
    where inturn.bucket_of(a.id) = hold_bucket.bucket and (a.paused_at is null or a.paused_by is not null) order by a.id for update
  )
  update inturn.accounts as a set paused_at = 'epoch', paused_by = null from held as h where a.id = h.id;
  return (
    select count(*) from inturn.accounts as a where inturn.bucket_of(a.id) = hold_bucket.bucket and a.state = 'running'
  );
end
$$;
--> statement-breakpoint
-- cells/lock_mover.sql

-- Refuses, with SQLSTATE IT016, who does not move this bucket any more: another mover has put its own token there. Every step of a move that
-- writes does so first, in both cells, and holds the bucket's row until it is done: one that was stopped for long can spoil nothing.
create or replace function inturn.lock_mover(bucket smallint, mover text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform from inturn.buckets as b where b.bucket = lock_mover.bucket and b.mover = lock_mover.mover for update;
  if not found then
    raise exception using errcode = 'IT016', message = format('bucket %s is moved by somebody else', lock_mover.bucket);
  end if;
end
$$;
--> statement-breakpoint
-- cells/make_cell.sql

-- Makes this database a cell: `cells` has for each bucket, from 0 on, the name of the cell in which its accounts lie, and `epochs` how
-- often it was moved. Returns false, and changes nothing, when there is an account that would lie elsewhere.
create or replace function inturn.make_cell(name text, cells text[], epochs bigint[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Nobody makes an account between this look and the map.
  lock table inturn.accounts in share row exclusive mode;
  if exists (select from inturn.accounts as a where cells[inturn.bucket_of(a.id) + 1] is distinct from make_cell.name) then
    return false;
  end if;
  insert into inturn.buckets (bucket, cell, here, epoch)
  select c.number - 1, c.cell, make_cell.name, c.epoch
  from unnest(cells, epochs) with ordinality as c (cell, epoch, number);
  -- Who moves a bucket finds its accounts by it. Databases that are no cells need not keep it.
  create index if not exists accounts_bucket on inturn.accounts (inturn.bucket_of(id), id);
  return true;
end
$$;
--> statement-breakpoint
-- cells/require_here.sql

-- Refuses to append to accounts that lie in another cell, with SQLSTATE IT014, or that are being moved to one, with IT015.
create or replace function inturn.require_here(account_ids text[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  elsewhere record;
begin
  select f.account_id, f.cell into elsewhere from inturn.find_elsewhere(account_ids) as f;
  if not found then
    return;
  end if;
  if elsewhere.cell is null then
    raise exception using errcode = 'IT015',
      message = format('account %L is being moved to another cell', elsewhere.account_id),
      hint = 'Nothing was stored. Try again in a second.';
  end if;
  raise exception using errcode = 'IT014',
    message = format('account %L lies in the cell %s', elsewhere.account_id, elsewhere.cell),
    hint = 'Nothing was stored. Append to the database of that cell.';
end
$$;
--> statement-breakpoint
-- cells/thaw_bucket.sql

-- Ends a move that has not left yet: lets the accounts go on that hold_bucket has stopped, and wakes those that wait. The bucket takes events
-- again; what an operator had paused stays so. Without a mover it ends the move of whoever is at it. Returns false, and changes nothing, when
-- the bucket has left, or somebody else moves it.
create or replace function inturn.thaw_bucket(bucket smallint, mover text) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  woken_jobs bigint;
begin
  update inturn.buckets as b set moving_to = null, mover = null, is_frozen = false
  where b.bucket = thaw_bucket.bucket and b.is_here and (thaw_bucket.mover is null or b.mover = thaw_bucket.mover);
  if not found then
    return false;
  end if;
  with held as materialized (
    select a.id from inturn.accounts as a
    where inturn.bucket_of(a.id) = thaw_bucket.bucket and a.paused_at = 'epoch' order by a.id for update
  ), freed as (
    update inturn.accounts as a set paused_at = null from held as h where a.id = h.id
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  )
  select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at)) into woken_jobs
  from freed as f where f.waits having count(*) > 0;
  return true;
end
$$;
--> statement-breakpoint
-- operate/erase.sql

-- Removes everything of an account, events that wait as well, and answers how many events that were. Nothing of it is left in these
-- tables, also no record of this call. If it gets events again, they begin with seq 1.
--
-- A worker that was stopped long ago may still hold an old lease. So an account that is made from now on begins beyond every epoch
-- that an erased one had (see lock_accounts).
create or replace function inturn.erase(account_id text) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  account inturn.accounts := inturn.lock_account(erase.account_id);
  events bigint;
begin
  perform inturn.refuse_running(account);
  -- Not undone by a rollback, which does no harm.
  perform setval('inturn.first_epoch', greatest(f.last_value, account.epoch + 1)) from inturn.first_epoch as f;
  delete from inturn.events as e where e.account_id = account.id;
  get diagnostics events = row_count;
  delete from inturn.attempts as t where t.account_id = account.id;
  delete from inturn.operations as o where o.account_id = account.id;
  delete from inturn.bulk_operation_items as i using inturn.bulk_operations as b
  where i.operation_id = b.id and i.account_id = account.id;
  update inturn.target_attempts as t
  set failed_accounts = array_remove(t.failed_accounts, account.id::text)
  where account.id = any (t.failed_accounts);
  if to_regtype('graphile_worker.job_spec') is not null then
    perform graphile_worker.remove_job(account.id || '#' || account.epoch);
  end if;
  delete from inturn.accounts as a where a.id = account.id;
  return events;
end
$$;
--> statement-breakpoint
-- operate/lock_account.sql

-- Locks an account's row for a verb. Every verb does so first.
--
-- The SQLSTATEs of all verbs: IT001 no such account, IT002 an event is being handled, IT003 no event is pending,
-- IT004 not a dead letter, IT005 later events were handled already, IT006 no settled event has this seq,
-- IT007 too many events to replay, IT012 the account rests because of a pause of more than one, IT015 it is being moved to another cell.
create or replace function inturn.lock_account(account_id text) returns inturn.accounts
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  account inturn.accounts;
begin
  select * into account from inturn.accounts as a where a.id = account_id for update;
  if not found then
    raise exception using errcode = 'IT001', message = format('there is no account %L: it never had an event', account_id);
  end if;
  if exists (select from inturn.buckets as b where b.bucket = inturn.bucket_of(account_id) and b.is_here and b.moving_to is not null) then
    raise exception using errcode = 'IT015', message = format('account %L is being moved to another cell', account_id);
  end if;
  return account;
end
$$;
--> statement-breakpoint
-- operate/pause.sql

-- Pauses an account: no worker claims it until it is resumed, whatever its state. When the answer says `running`, a worker
-- is handling the event with this seq: that attempt ends, and no event starts after it. An account that rests because of a pause of
-- more than one stays paused after the end of that.
create or replace function inturn.pause(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(pause.account_id);
begin
  update inturn.accounts as a set paused_at = coalesce(a.paused_at, clock_timestamp()), paused_by = null where a.id = account.id;
  perform inturn.record_operation('pause', account.id, account.processed_seq + 1, who, why);
  return query select case account.state when 'running' then 'running' else 'paused' end, account.processed_seq + 1;
end
$$;
--> statement-breakpoint
-- operate/record_operation.sql

-- Records a verb that was carried out.
create or replace function inturn.record_operation(verb text, account_id text, seq bigint, who text, why text) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into inturn.operations (verb, account_id, seq, who, why)
  values (verb, account_id, seq, left(coalesce(who, session_user), 200), left(why, 2000))
$$;
--> statement-breakpoint
-- operate/redrive.sql

-- Hands a dead letter out again: at its own seq, while every event after it is still pending and none was started.
-- Later only `force` does it, by appending a copy at the end; `seq` is the seq of the copy.
create or replace function inturn.redrive(
  account_id text,
  dead_seq bigint,
  force boolean default false,
  why text default null,
  who text default session_user
)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
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
    set outcome = null, processed_at = null, started_at = null, duration_ms = null, unsettled_before = null, error = null
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
  insert into inturn.events (account_id, seq, type, data, metadata, occurred_at, received_at, bytes)
  values (
    account.id, account.last_seq, letter.type, letter.data, letter.metadata, letter.occurred_at, clock_timestamp(), letter.bytes
  );
  update inturn.events as e set outcome = 'skipped', error = format('redriven as seq %s', account.last_seq)
  where e.account_id = account.id and e.seq = letter.seq;
  update inturn.accounts as a
  set last_seq = account.last_seq, dead = account.dead, skipped = account.skipped
  where a.id = account.id and account.state <> 'idle';
  return query select case account.state when 'idle' then inturn.reschedule(account) else account.state end, account.last_seq;
end
$$;
--> statement-breakpoint
-- operate/refuse_idle.sql

-- Refuses a verb that needs a pending event.
create or replace function inturn.refuse_idle(account inturn.accounts) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if account.processed_seq = account.last_seq then
    raise exception using errcode = 'IT003', message = format('no event of account %L is pending', account.id);
  end if;
end
$$;
--> statement-breakpoint
-- operate/refuse_running.sql

-- Refuses a verb that must not run while an event is being handled.
create or replace function inturn.refuse_running(account inturn.accounts) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if account.state = 'running' then
    raise exception using errcode = 'IT002',
      message = format('event %s of account %L is being handled', account.processed_seq + 1, account.id),
      hint = 'Pause the account: it rests once this event is settled or has failed. Then try again.';
  end if;
end
$$;
--> statement-breakpoint
-- operate/replay.sql

-- Handles again every event from this seq on, in order, whatever its outcome was. Events that are no longer kept cannot be
-- replayed.
create or replace function inturn.replay(account_id text, from_seq bigint, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  -- One transaction rewrites all of them and locks the account as long.
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
  set outcome = null, processed_at = null, started_at = null, duration_ms = null, unsettled_before = null, attempts = 0, error = null
  where e.account_id = account.id and e.seq between from_seq and account.processed_seq;
  account.processed_seq := from_seq - 1;
  perform inturn.record_operation('replay', account.id, from_seq, who, why);
  return query select inturn.reschedule(account), from_seq;
end
$$;
--> statement-breakpoint
-- operate/reschedule.sql

-- Gives an account its next state after a verb: idle when no event is pending, else scheduled with a wake-up. Its head has all
-- attempts again: `attempts` of them were made before and are forgiven.
create or replace function inturn.reschedule(account inturn.accounts, attempts integer default 0) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  next_state text := case when account.processed_seq = account.last_seq then 'idle' else 'scheduled' end;
begin
  update inturn.accounts as a
  set last_seq = account.last_seq, processed_seq = account.processed_seq, dead = account.dead, skipped = account.skipped,
    state = next_state, state_since = clock_timestamp(), next_attempt_at = null, parked_until = null,
    head_attempts = attempts, attempts_forgiven = attempts, head_error = null, head_target = null, head_outages = 0,
    snoozed_since = null
  where a.id = account.id;
  if inturn.waits(next_state, account.paused_at) then
    perform inturn.wake(array[account.id], array[account.epoch]);
  end if;
  return case when account.paused_at is null then next_state else 'paused' end;
end
$$;
--> statement-breakpoint
-- operate/resume.sql

-- Ends a pause: the account goes on in the state it had.
create or replace function inturn.resume(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(resume.account_id);
begin
  if account.paused_at is not null and account.paused_by is not null then
    raise exception using errcode = 'IT012',
      message = format('account %L rests because of a pause of more than one account', account.id),
      hint = 'End that pause; inturn.pause_status has it.';
  end if;
  update inturn.accounts as a set paused_at = null where a.id = account.id;
  if account.paused_at is not null and inturn.waits(account.state, null) then
    perform inturn.wake(array[account.id], array[account.epoch], array[account.next_attempt_at]);
  end if;
  perform inturn.record_operation('resume', account.id, account.processed_seq + 1, who, why);
  return query select account.state, account.processed_seq + 1;
end
$$;
--> statement-breakpoint
-- operate/retry.sql

-- Tries the head again now, without its backoff; if it was blocked, it has all its attempts again.
create or replace function inturn.retry(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(retry.account_id);
begin
  perform inturn.refuse_running(account);
  perform inturn.refuse_idle(account);
  perform inturn.record_operation('retry', account.id, account.processed_seq + 1, who, why);
  return query select inturn.reschedule(account, account.head_attempts), account.processed_seq + 1;
end
$$;
--> statement-breakpoint
-- operate/skip.sql

-- Settles the head as skipped: it is not handled, and the account goes on with the event after it.
create or replace function inturn.skip(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(skip.account_id);
begin
  perform inturn.refuse_running(account);
  perform inturn.refuse_idle(account);
  account.processed_seq := account.processed_seq + 1;
  account.skipped := account.skipped + 1;
  update inturn.events as e
  set outcome = 'skipped', processed_at = clock_timestamp(), attempts = account.head_attempts, error = account.head_error
  where e.account_id = account.id and e.seq = account.processed_seq;
  perform inturn.record_operation('skip', account.id, account.processed_seq, who, why);
  return query select inturn.reschedule(account), account.processed_seq;
end
$$;
--> statement-breakpoint
-- operations/cancel_operation.sql

-- Ends an operation: what is done stays, and nothing more is done. Whether it had not ended yet.
create or replace function inturn.cancel_operation(operation_id bigint, why text default null, who text default session_user)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update inturn.bulk_operations as o
  set cancelled_at = clock_timestamp(), ended_at = clock_timestamp(),
    why = left(concat_ws('; ', o.why, 'cancelled by ' || coalesce(cancel_operation.who, session_user) || coalesce(': ' || cancel_operation.why, '')), 2000)
  where o.id = operation_id and o.ended_at is null;
  return found;
end
$$;
--> statement-breakpoint
-- operations/carry_on_operation.sql

-- Does the next part of an operation: up to 200 accounts in the order of their ids, or what its rate allows by now; and adds the
-- job for the part after it. All in one transaction: whoever dies in between has done nothing of this part, and no account is done
-- twice. An account that somebody has locked for a second is left out; a part ends when it has taken two.
create or replace function inturn.carry_on_operation(operation_id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
  part_max constant bigint := 200;
  operation inturn.bulk_operations;
  item inturn.bulk_operation_items;
  began_at constant timestamptz := clock_timestamp();
  allowed bigint := part_max;
  is_over boolean;
begin
  select * into operation from inturn.bulk_operations as o where o.id = operation_id and o.ended_at is null for update skip locked;
  if not found then
    return;
  end if;
  if operation.rate is not null then
    -- A job with a time is fetched up to a second late: a part may be of two seconds, and no more, also after a long stop.
    allowed := least(
      2 * operation.rate, ceil(operation.rate * extract(epoch from clock_timestamp() - operation.created_at))::bigint - operation.tried
    );
  end if;
  perform set_config('inturn.operation', operation.id::text, true);
  if operation.cancelled_at is null then
    for item in
      select * from inturn.bulk_operation_items as i
      where i.operation_id = operation.id and i.outcome is null
      order by i.account_id, i.seq
      limit greatest(allowed, 0)
    loop
      update inturn.bulk_operation_items as i set outcome = inturn.carry_out_item(operation, item)
      where i.operation_id = item.operation_id and i.account_id = item.account_id and i.seq = item.seq;
      operation.tried := operation.tried + 1;
      exit when clock_timestamp() > began_at + interval '2 seconds';
    end loop;
  end if;
  is_over := operation.tried >= operation.matched or operation.cancelled_at is not null;
  update inturn.bulk_operations as o
  set tried = operation.tried, ended_at = case when is_over then clock_timestamp() end
  where o.id = operation.id;
  perform set_config('inturn.operation', '', true);
  if not is_over then
    perform inturn.wake_operation(
      operation.id, case when operation.rate is not null then clock_timestamp() + interval '250 milliseconds' end
    );
  end if;
end
$$;
--> statement-breakpoint
-- operations/carry_out_item.sql

-- Carries out an operation's verb on one account, if it still is as it was when it matched. Answers `done`, or the code of the
-- error that kept it from being done.
create or replace function inturn.carry_out_item(operation inturn.bulk_operations, item inturn.bulk_operation_items) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  head bigint;
begin
  if operation.verb in ('retry', 'skip') then
    select a.processed_seq + 1 into head from inturn.accounts as a where a.id = item.account_id for update;
    if head is distinct from item.seq then
      return 'account_changed';
    end if;
  end if;
  case operation.verb
    when 'pause' then perform inturn.pause(item.account_id, operation.why, operation.who);
    when 'resume' then perform inturn.resume(item.account_id, operation.why, operation.who);
    when 'retry' then perform inturn.retry(item.account_id, operation.why, operation.who);
    when 'skip' then perform inturn.skip(item.account_id, operation.why, operation.who);
    when 'redrive' then perform inturn.redrive(item.account_id, item.seq, operation.force, operation.why, operation.who);
    when 'replay' then perform inturn.replay(item.account_id, item.seq, operation.why, operation.who);
  end case;
  return 'done';
exception
  when lock_not_available then return 'account_locked';
  when sqlstate 'IT001' then return 'account_not_found';
  when sqlstate 'IT002' then return 'account_running';
  when sqlstate 'IT003' then return 'account_idle';
  when sqlstate 'IT004' then return 'event_not_dead';
  when sqlstate 'IT005' then return 'event_overtaken';
  when sqlstate 'IT006' then return 'event_not_settled';
  when sqlstate 'IT007' then return 'replay_too_large';
  when sqlstate 'IT012' then return 'account_covered';
  when sqlstate 'IT015' then return 'bucket_moving';
end
$$;
--> statement-breakpoint
-- operations/is_of_type.sql

-- Whether a type is the wanted one; with `*` at the end of that, whether it begins with it. Without a wanted one every type is.
create or replace function inturn.is_of_type(type text, wanted text) returns boolean
language sql immutable parallel safe
return wanted is null or coalesce(type = wanted or right(wanted, 1) = '*' and starts_with(type, left(wanted, -1)), false);
--> statement-breakpoint
-- operations/matching_accounts.sql

-- Which accounts an operation is for, and with which head; of `redrive` which dead letters; of `replay` from which
-- event on. `filter` may have `states`, `prefix`, `type`, `error`, `blockedBefore` and `limit`; of `replay` `settledSince`, which it needs,
-- `states`, `prefix`, `type` and `limit`. A verb matches only accounts that it can do something for. It reads all accounts once.
create or replace function inturn.matching_accounts(verb text, filter json)
returns table (account_id text, seq bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  with wanted as (
    select array(select json_array_elements_text(filter -> 'states')) as states,
      coalesce(filter ->> 'prefix', '') as prefix,
      filter ->> 'type' as type,
      lower(filter ->> 'error') as error,
      (filter ->> 'blockedBefore')::timestamptz as blocked_before,
      (filter ->> 'settledSince')::timestamptz as settled_since,
      (filter ->> 'limit')::bigint as most
  ), heads as (
    select a.id as account_id, a.processed_seq + 1 as seq, a.head_error as error, a.state_since as since, e.type
    from wanted as w
    cross join inturn.accounts as a
    left join inturn.events as e on w.type is not null and e.account_id = a.id and e.seq = a.processed_seq + 1
    where verb in ('pause', 'resume', 'retry', 'skip')
      and case verb
        when 'pause' then a.paused_at is null
        when 'resume' then a.paused_at is not null
        when 'retry' then a.state in ('blocked', 'retrying', 'waiting')
        else a.state in ('blocked', 'retrying', 'waiting', 'scheduled')
      end
      and (cardinality(w.states) = 0
        or inturn.shown_state(a.state, a.paused_at) = any (w.states))
  ), dead as (
    select e.account_id, e.seq, e.error, e.processed_at as since, e.type
    from inturn.accounts as a
    join inturn.events as e on e.account_id = a.id and e.outcome = 'dead'
    where verb = 'redrive' and a.dead > 0
  ), settled as (
    select a.id as account_id, e.seq, null as error, null::timestamptz as since, e.type
    from wanted as w
    cross join inturn.accounts as a
    cross join lateral (
      select e.seq, e.type from inturn.events as e
      where e.account_id = a.id and e.seq between inturn.first_since(a, w.settled_since, true) and a.processed_seq
        and inturn.is_of_type(e.type, w.type)
      order by e.seq limit 1
    ) as e
    where verb = 'replay' and a.processed_seq > a.pruned_seq
      and (cardinality(w.states) = 0 or inturn.shown_state(a.state, a.paused_at) = any (w.states))
      and starts_with(a.id, w.prefix)
  )
  select m.account_id, m.seq
  from (select * from heads union all select * from dead union all select * from settled) as m
  cross join wanted as w
  where starts_with(m.account_id, w.prefix)
    and inturn.is_of_type(m.type, w.type)
    and (w.error is null or position(w.error in lower(m.error)) > 0)
    and (w.blocked_before is null or m.since < w.blocked_before)
  order by m.account_id collate "C", m.seq
  limit (select w.most from wanted as w)
$$;
--> statement-breakpoint
-- operations/operate.sql

-- Begins an operation: a verb for all accounts that match now. A worker carries it out little by little; what has changed by then
-- is left out. Answers its id, and how many matched. With `dry_run` nothing is begun, and the id is null.
create or replace function inturn.operate(
  verb text,
  filter json,
  why text default null,
  who text default session_user,
  rate integer default null,
  force boolean default false,
  dry_run boolean default false
)
returns table (id bigint, matched bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  accounts_max constant bigint := 1000000;
  operation_id bigint;
  items bigint;
begin
  if (verb = 'replay') <> (filter ->> 'settledSince' is not null) then
    raise exception using errcode = 'IT009', message = 'replay needs settledSince, and no other verb takes it';
  elsif verb = 'replay' and (filter ->> 'error' is not null or filter ->> 'blockedBefore' is not null) then
    raise exception using errcode = 'IT009', message = 'replay takes neither error nor blockedBefore';
  end if;
  if dry_run then
    return query select null::bigint, count(*) from inturn.matching_accounts(verb, filter);
    return;
  end if;
  insert into inturn.bulk_operations (verb, filter, force, rate, who, why, matched)
  values (verb, filter, force, rate, left(coalesce(who, session_user), 200), left(why, 2000), 0)
  returning bulk_operations.id into operation_id;
  insert into inturn.bulk_operation_items (operation_id, account_id, seq)
  select operation_id, m.account_id, m.seq from inturn.matching_accounts(verb, filter) as m;
  get diagnostics items = row_count;
  if items > accounts_max then
    raise exception using errcode = 'IT010',
      message = format('%s accounts match, %s at once are the most', items, accounts_max),
      hint = 'Give a limit, and begin another operation for the rest.';
  end if;
  update inturn.bulk_operations as o
  set matched = items, ended_at = case when items = 0 then clock_timestamp() end
  where o.id = operation_id;
  if items > 0 then
    perform inturn.wake_operation(operation_id, null);
  end if;
  return query select operation_id, items;
end
$$;
--> statement-breakpoint
-- operations/shown_state.sql

-- What the views call the state of an account.
create or replace function inturn.shown_state(state text, paused_at timestamptz) returns text
language sql immutable parallel safe
return case when paused_at is not null and state <> 'running' then 'paused' else state end;
--> statement-breakpoint
-- operations/wake_operation.sql

-- Adds the job that carries an operation on. Its key is the operation: there is one such job at a time.
create or replace function inturn.wake_operation(operation_id bigint, run_at timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if to_regtype('graphile_worker.job_spec') is not null then
    perform graphile_worker.add_job(
      'inturn_operate', json_build_object('operationId', operation_id), run_at => wake_operation.run_at,
      max_attempts => 1000, job_key => 'inturn_operate#' || operation_id
    );
  end if;
end
$$;
--> statement-breakpoint
-- operations/wake_operations.sql

-- Finds operations that nobody carries on any more, because their job got lost or whoever had it died without a trace, and gives each a
-- job: a part takes a few seconds at most, and two workers never do the same one. And forgets those that ended
-- a month ago. `operator_log` keeps what they did.
create or replace function inturn.wake_operations() returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  delete from inturn.bulk_operations as o where o.ended_at < clock_timestamp() - interval '30 days';
  select inturn.wake_operation(o.id, null)
  from inturn.bulk_operations as o
  where o.ended_at is null
    and not exists (
      select from graphile_worker.jobs as j where j.key = ('inturn_operate#' || o.id) collate pg_catalog."default"
        and (j.locked_at is null and j.attempts < j.max_attempts or j.locked_at > clock_timestamp() - interval '10 seconds')
    );
$$;
--> statement-breakpoint
-- pauses/begin_pause.sql

-- Pauses everything (`covers` is `all`), every event of a type (`type`, where a * at the end of the value stands for any end), or
-- every account whose id begins with a prefix (`prefix`): no event of it starts on a worker that has heard of this version of
-- the list, also of accounts that come later. With `until` it ends by itself. A pause that stands already gets this
-- end and this reason, and is whole again if it was ending little by little.
create or replace function inturn.begin_pause(
  covers text,
  value text default '',
  until timestamptz default null,
  why text default null,
  who text default session_user
)
returns table (id bigint, version bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  -- Workers look at all of them before every event.
  pauses_max constant integer := 100;
  value_max constant integer := 255;
  list_version bigint := inturn.change_pauses();
  pause_id bigint;
begin
  if begin_pause.covers is null or begin_pause.covers not in ('all', 'type', 'prefix') then
    raise exception using errcode = 'IT009', message = 'a pause is of all, of a type or of a prefix';
  elsif begin_pause.value is null or (begin_pause.covers = 'all') <> (begin_pause.value = '') or length(begin_pause.value) > value_max then
    raise exception using errcode = 'IT009',
      message = format('a type or a prefix has 1 to %s characters; a pause of everything has none', value_max);
  elsif begin_pause.until <= clock_timestamp() then
    raise exception using errcode = 'IT009', message = 'the end of the pause has passed already';
  end if;
  insert into inturn.pauses as p (covers, value, until, who, why)
  values (
    begin_pause.covers, begin_pause.value, begin_pause.until, left(coalesce(begin_pause.who, session_user), 200),
    left(begin_pause.why, 2000)
  )
  on conflict (covers, value) do update
  set until = excluded.until, who = excluded.who, why = excluded.why, rate = null, released_at = null
  returning p.id into pause_id;
  if (select count(*) from inturn.pauses) > pauses_max then
    raise exception using errcode = 'IT009', message = format('there are %s pauses already, which is the most', pauses_max);
  end if;
  perform inturn.record_pause('pause', begin_pause.covers, begin_pause.value, begin_pause.who, begin_pause.why);
  return query select pause_id, list_version;
end
$$;
--> statement-breakpoint
-- pauses/change_pauses.sql

-- Locks the list of pauses for a change, and answers its new version. Who changes the list calls it first: so versions grow in the
-- order in which changes are seen.
create or replace function inturn.change_pauses() returns bigint
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into inturn.pause_list as l (only_row, version) values (true, 1)
  on conflict (only_row) do update set version = l.version + 1
  returning l.version
$$;
--> statement-breakpoint
-- pauses/end_pause.sql

-- Ends a pause. Without `rate` it covers nothing any more, and the accounts that rest because of it are woken. With it, so many
-- events of it start in a second, those of the accounts first that have rested longest, until fewer start than may.
-- Answers how many accounts rest because of it.
create or replace function inturn.end_pause(
  covers text,
  value text default '',
  rate integer default null,
  why text default null,
  who text default session_user
)
returns table (id bigint, accounts bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  rate_max constant integer := 10000;
  pause_id bigint;
begin
  if end_pause.rate not between 1 and rate_max then
    raise exception using errcode = 'IT009', message = format('a rate is 1 to %s events a second', rate_max);
  end if;
  perform inturn.change_pauses();
  if end_pause.rate is null then
    delete from inturn.pauses as p where p.covers = end_pause.covers and p.value = end_pause.value returning p.id into pause_id;
  else
    update inturn.pauses as p set rate = end_pause.rate, released_at = clock_timestamp(), until = null
    where p.covers = end_pause.covers and p.value = end_pause.value
    returning p.id into pause_id;
  end if;
  if pause_id is null then
    raise exception using errcode = 'IT011', message = format('%s is not paused', rtrim(end_pause.covers || ' ' || end_pause.value)),
      hint = 'A pause ends under the name that it began under; accounts that were paused one by one are resumed one by one.';
  end if;
  perform inturn.record_pause('resume', end_pause.covers, end_pause.value, end_pause.who, end_pause.why);
  return query select pause_id, (select count(*) from inturn.accounts as a where a.paused_by = pause_id and a.paused_at is not null);
end
$$;
--> statement-breakpoint
-- pauses/has_due.sql

-- Whether an account that the pause covers has been due for a second, and no worker has looked at it: it does not rest yet.
create or replace function inturn.has_due(pause inturn.pauses) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from inturn.accounts as a
    left join inturn.events as e on e.account_id = a.id and e.seq = a.processed_seq + 1
    where a.state in ('scheduled', 'retrying') and a.paused_at is null
      and coalesce(a.next_attempt_at, a.state_since) < clock_timestamp() - interval '1 second'
      and a.paused_by is distinct from pause.id
      and inturn.is_covered(pause, a.id, e.type)
  )
$$;
--> statement-breakpoint
-- pauses/is_covered.sql

-- Whether a pause covers the events of this type in this account.
create or replace function inturn.is_covered(pause inturn.pauses, account_id text, type text) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case pause.covers
    when 'all' then true
    when 'prefix' then starts_with(account_id, pause.value)
    else inturn.is_of_type(type, pause.value)
  end
$$;
--> statement-breakpoint
-- pauses/record_pause.sql

-- Records that a pause of more than one account was begun or ended.
create or replace function inturn.record_pause(verb text, covers text, value text, who text, why text) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into inturn.operations (verb, covers, who, why)
  values (verb, rtrim(covers || ' ' || value), left(coalesce(who, session_user), 200), left(why, 2000))
$$;
--> statement-breakpoint
-- pauses/release_paused.sql

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
--> statement-breakpoint
-- pauses/tend_pauses.sql

-- Does what the time has come for: ends pauses whose time is over, lets events start of those that end little by little, and wakes the
-- accounts that rest because of a pause that is no more. It looks at what is, not at what happened: a worker that had not heard of the
-- end yet may let an account rest after it. Answers how many accounts it let go on.
create or replace function inturn.tend_pauses() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tender_lock constant bigint := 4917238005;
  accounts_max constant integer := 1000;
  pause inturn.pauses;
  due_by timestamptz;
  allowed integer;
  freed integer;
  released integer := 0;
  ended bigint := 0;
begin
  if not pg_try_advisory_xact_lock(tender_lock) then
    return 0;
  end if;
  -- From one pause to the next, by the index: there are few, and many accounts may rest because of one.
  loop
    select a.paused_by into ended from inturn.accounts as a
    where a.paused_by > ended and a.paused_at is not null
    order by a.paused_by
    limit 1;
    exit when not found or not exists (select from inturn.pauses as p where p.id = ended);
  end loop;
  if ended is not null then
    released := inturn.release_paused(ended, accounts_max);
  end if;
  for pause in
    select p.* from inturn.pauses as p where p.until <= clock_timestamp() or p.rate is not null order by p.id
  loop
    if pause.rate is null then
      perform inturn.end_pause(pause.covers, pause.value, null, 'its time was over', 'inturn');
      continue;
    end if;
    -- What could not be used for more than a second is not made up for.
    due_by := greatest(pause.released_at, clock_timestamp() - interval '1 second');
    allowed := floor(pause.rate * extract(epoch from clock_timestamp() - due_by));
    continue when allowed < 1;
    freed := inturn.release_paused(pause.id, allowed);
    released := released + freed;
    if ended is null and freed < allowed and not exists (select from inturn.accounts as a where a.paused_by = pause.id and a.paused_at is not null)
      and not inturn.has_due(pause)
    then
      -- Nobody rests any more: by themselves fewer events start now than may.
      perform inturn.end_pause(pause.covers, pause.value, null, 'fewer events of it start than may', 'inturn');
      continue;
    end if;
    update inturn.pauses as p set released_at = due_by + freed / p.rate::double precision * interval '1 second' where p.id = pause.id;
  end loop;
  return released;
end
$$;
--> statement-breakpoint
-- recovery/take_over.sql

-- Deletes the workers that are gone and frees their accounts. A worker is gone when its lease has expired, or when its
-- advisory lock has ended with its process and it has not renewed its lease for `lifeless_ms` either.
--
-- Orphaned accounts are searched for only when a worker was found gone, or when `sweeps` says so: the search reads every
-- running account.
--
-- A worker may start and claim an account while that account is being found orphaned. So each account is judged twice: once
-- to find it, and again after its row is locked, by a statement that begins then and sees every worker that could have
-- claimed it.
--
-- The first takeover is immediate. A head whose workers die again and again may be what kills them: it waits longer each time,
-- and a different time than other accounts, so that they are handled in between. From the second attempt on, a call of the
-- handler is recorded before it is made; an attempt without that record is not counted.
create or replace function inturn.take_over(
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
    -- Frees the jobs that graphile-worker had locked for them; by itself it would wait for four hours.
    if cardinality(pools) > 0 then
      perform graphile_worker.force_unlock_workers(pools);
    end if;
  end if;
  if workers_gone = 0 and not sweeps then
    return;
  end if;

  -- Two steps, first found, then locked in id order: in one step the planner may read all accounts in the order of their ids.
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
      a.head_attempts - (a.head_attempts > 1 and not a.head_started)::integer as attempts,
      a.processed_seq + 1 as seq, a.lease_worker
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
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  ), remembered as (
    insert into inturn.attempts as t (account_id, seq, slot, attempt, worker_id, started_at, ended_at, outcome, error)
    select j.id, j.seq, j.attempts % 20, j.attempts, j.lease_worker, null, clock_timestamp(), 'lost', 'the worker that handled it is gone'
    from judged as j where j.has_head and j.failed_again
    on conflict (account_id, seq, slot) do update
    set attempt = excluded.attempt, worker_id = excluded.worker_id, started_at = null, ended_at = excluded.ended_at,
      outcome = excluded.outcome, error = excluded.error
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at))
    from freed as f where f.waits having count(*) > 0
  )
  select count(*) into taken_over from freed left join woken on true;
end
$$;
--> statement-breakpoint
-- search/event_state.sql

-- What the views call the state of an event.
create or replace function inturn.event_state(outcome text, is_head boolean, account_state text) returns text
language sql immutable parallel safe
return case
  when outcome is not null then outcome
  when is_head and account_state = 'running' then 'processing'
  when is_head and account_state = 'retrying' then 'retrying'
  else 'pending'
end;
--> statement-breakpoint
-- search/find_events.sql

-- Looks for events in the order of accounts and seqs, after a position, and stops when it has found `events_max` or has looked at
-- 20,000 accounts or events. `filter` may have `id`, `type`, `error`, `state`, `prefix`, `receivedFrom` and `receivedTo`. An id is looked up
-- in each account; for an error only accounts are looked at that have one; for a time only the events of that time.
--
-- Answers what it found, how much it looked at, and the position to go on from, which is null when there is nothing more to look at.
create or replace function inturn.find_events(
  filter json,
  after_account text,
  after_seq bigint,
  events_max integer,
  out account_ids text[],
  out seqs bigint[],
  out accounts_looked integer,
  out events_looked integer,
  out last_account text,
  out last_seq bigint
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  looks_max constant integer := 20000;
  wanted_id constant text := filter ->> 'id';
  wanted_type constant text := filter ->> 'type';
  wanted_error constant text := lower(filter ->> 'error');
  wanted_state constant text := filter ->> 'state';
  prefix constant text := coalesce(filter ->> 'prefix', '');
  received_from constant timestamptz := filter ->> 'receivedFrom';
  received_to constant timestamptz := filter ->> 'receivedTo';
  account inturn.accounts;
  event record;
  first_seq bigint;
  end_seq bigint;
begin
  account_ids := '{}';
  seqs := '{}';
  accounts_looked := 0;
  events_looked := 0;
  for account in
    -- In byte order no id that begins with the prefix comes after the prefix with the last of all characters behind it.
    select * from inturn.accounts as a
    where a.id >= greatest(after_account, prefix) collate "C" and a.id <= (prefix || chr(1114111)) collate "C"
    order by a.id
  loop
    if accounts_looked >= looks_max or events_looked >= looks_max or cardinality(seqs) >= events_max then
      return;
    end if;
    accounts_looked := accounts_looked + 1;
    last_account := account.id;
    last_seq := account.last_seq;
    continue when wanted_error is not null and account.dead = 0 and account.skipped = 0 and account.head_error is null;
    first_seq := case when account.id = after_account then after_seq + 1 else 1 end;
    end_seq := account.last_seq;
    if wanted_id is not null then
      select e.seq into end_seq from inturn.events as e where e.account_id = account.id and e.event_id = wanted_id;
      continue when not found;
      first_seq := greatest(first_seq, end_seq);
    end if;
    if received_from is not null then
      -- Dead letters that outlive what is pruned come before what is still kept, and are looked at one by one.
      first_seq := greatest(first_seq, nullif(inturn.first_since(account, received_from, false), account.pruned_seq + 1));
    end if;
    for event in
      select e.seq, e.type, e.received_at, coalesce(e.error, case when e.seq = account.processed_seq + 1 then account.head_error end) as error,
        inturn.event_state(e.outcome, e.seq = account.processed_seq + 1, account.state) as state
      from inturn.events as e
      where e.account_id = account.id and e.seq between first_seq and end_seq
      order by e.seq
      limit looks_max - events_looked
    loop
      exit when event.received_at > received_to;
      events_looked := events_looked + 1;
      if inturn.is_of_type(event.type, wanted_type)
        and (wanted_error is null or position(wanted_error in lower(event.error)) > 0)
        and (wanted_state is null or event.state = wanted_state)
        and (received_from is null or event.received_at >= received_from)
      then
        account_ids := account_ids || account.id;
        seqs := seqs || event.seq;
      end if;
      if events_looked >= looks_max or cardinality(seqs) >= events_max then
        last_seq := event.seq;
        return;
      end if;
    end loop;
  end loop;
  last_account := null;
  last_seq := null;
end
$$;
--> statement-breakpoint
-- search/first_since.sql

-- The first event of an account, of those that are still kept, that arrived at this time or later, or, with `is_settled`, that was
-- settled then or later; the seq behind the last one when there is none. Events arrive and are settled in the order of their seqs, so a few
-- look-ups find it among a million.
create or replace function inturn.first_since(account inturn.accounts, since timestamptz, is_settled boolean) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  low bigint := account.pruned_seq + 1;
  middle bigint := case when is_settled then account.processed_seq else account.last_seq end;
  high bigint := middle + 1;
begin
  while low < high loop
    if (
      select case when is_settled then e.processed_at else e.received_at end >= since
      from inturn.events as e where e.account_id = account.id and e.seq = middle
    ) then
      high := middle;
    else
      low := middle + 1;
    end if;
    middle := (low + high) / 2;
  end loop;
  return low;
end
$$;
--> statement-breakpoint
-- targets/close_target.sql

-- Closes a target by hand, whoever opened it: its accounts are woken little by little. `accounts` wait for it now.
create or replace function inturn.close_target(target text, why text default null, who text default session_user)
returns table (state text, accounts bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  found_row inturn.targets;
begin
  select * into found_row from inturn.targets as t where t.name = close_target.target for update;
  if found_row.name is null or found_row.state = 'closed' then
    raise exception using errcode = 'IT008', message = format('target %L is not open', close_target.target);
  end if;
  perform inturn.shut_target(found_row);
  insert into inturn.operations (verb, target, who, why)
  values ('close', found_row.name, left(coalesce(who, session_user), 200), left(why, 2000));
  return query select 'closed', (
    select count(*) from inturn.accounts as a where a.state = 'waiting' and a.head_target = found_row.name
  );
end
$$;
--> statement-breakpoint
-- targets/end_probe.sql

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
--> statement-breakpoint
-- targets/enter_target.sql

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
--> statement-breakpoint
-- targets/gather_waiting.sql

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
--> statement-breakpoint
-- targets/lock_target.sql

-- Locks a target's row, which is made unless it is there. Handlers may name targets as they like: beyond a thousand there is none,
-- and the answer is null. Whoever locks a target and accounts locks the target first.
create or replace function inturn.lock_target(target text) returns inturn.targets
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  targets_max constant integer := 1000;
  found_row inturn.targets;
begin
  select * into found_row from inturn.targets as t where t.name = target for update;
  if found then
    return found_row;
  end if;
  if (select count(*) from inturn.targets) >= targets_max then
    return null;
  end if;
  insert into inturn.targets (name) values (target) on conflict do nothing;
  select * into found_row from inturn.targets as t where t.name = target for update;
  return found_row;
end
$$;
--> statement-breakpoint
-- targets/open_target.sql

-- Opens a target by hand: none of its events starts until a person closes it, or, with `until`, until then, when it is tried
-- with one event. It cannot be opened for nothing: `why` is recorded, and shown wherever the target is.
create or replace function inturn.open_target(
  target text,
  why text default null,
  who text default session_user,
  until timestamptz default null
)
returns table (state text, accounts bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  found_row inturn.targets;
begin
  if coalesce(length(open_target.target) not between 1 and 100, true) then
    raise exception using errcode = 'IT009', message = 'a target has a name of 1 to 100 characters';
  end if;
  found_row := inturn.lock_target(open_target.target);
  if found_row.name is null then
    raise exception using errcode = 'IT009', message = 'there are 1000 targets already, which is the most';
  end if;
  update inturn.targets as t
  set state = 'open', since = clock_timestamp(), away_since = coalesce(t.away_since, clock_timestamp()), by_hand = true,
    reason = left(coalesce(why, 'opened by ' || who), 2000), probe_account = null, next_probe_at = until,
    suspected_since = null, suspected_at = null
  where t.name = found_row.name;
  insert into inturn.operations (verb, target, who, why)
  values ('open', found_row.name, left(coalesce(who, session_user), 200), left(why, 2000));
  return query select 'open', (
    select count(*) from inturn.accounts as a where a.state = 'waiting' and a.head_target = found_row.name
  );
end
$$;
--> statement-breakpoint
-- targets/report_attempts.sql

-- Takes note of how one worker's last attempts of a target went, and opens the target when those of all workers show
-- an outage. Every worker reports while a target is suspected; until all have had the time to, nothing is concluded.
create or replace function inturn.report_attempts(
  target text,
  worker_id uuid,
  attempts integer,
  failed integer,
  failed_accounts text[],
  attempts_min integer,
  accounts_min integer,
  failed_share double precision,
  last_error text
)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  window_length constant interval := '10 seconds';
  heard_within constant interval := '1 second';
  heard_after constant interval := '600 milliseconds';
  found_row inturn.targets := inturn.lock_target(report_attempts.target);
  everybody record;
begin
  if found_row.name is null or found_row.state <> 'closed' then
    return;
  end if;
  insert into inturn.target_attempts as a (target, worker_id, attempts, failed, failed_accounts)
  values (
    found_row.name, report_attempts.worker_id, report_attempts.attempts, report_attempts.failed, report_attempts.failed_accounts
  )
  on conflict (target, worker_id) do update
  set at = clock_timestamp(), attempts = excluded.attempts, failed = excluded.failed, failed_accounts = excluded.failed_accounts;
  if report_attempts.failed > 0 then
    if coalesce(found_row.suspected_at < clock_timestamp() - window_length, true) then
      found_row.suspected_since := clock_timestamp();
    end if;
    update inturn.targets as t set suspected_since = found_row.suspected_since, suspected_at = clock_timestamp()
    where t.name = found_row.name;
  end if;
  if found_row.suspected_since > clock_timestamp() - heard_after then
    return;
  end if;
  select sum(a.attempts) as attempts, sum(a.failed) as failed,
    (select count(distinct account) from inturn.target_attempts as b, unnest(b.failed_accounts) as account
     where b.target = found_row.name and b.at > clock_timestamp() - heard_within) as accounts
  into everybody
  from inturn.target_attempts as a where a.target = found_row.name and a.at > clock_timestamp() - heard_within;
  if everybody.attempts >= attempts_min and everybody.accounts >= accounts_min
    and everybody.failed >= everybody.attempts * failed_share
  then
    perform inturn.trip_target(found_row.name, format(
      '%s of the last %s attempts failed, the last one with: %s', everybody.failed, everybody.attempts, last_error
    ));
  end if;
end
$$;
--> statement-breakpoint
-- targets/shut_target.sql

-- Closes a target whose row is locked, and forgets what led to its opening.
create or replace function inturn.shut_target(target inturn.targets) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update inturn.targets as t
  set state = 'closed', since = clock_timestamp(), away_since = null, reason = null, next_probe_at = null, failed_probes = 0,
    probe_account = null, by_hand = false, woken = 0, suspected_since = null, suspected_at = null
  where t.name = target.name;
  delete from inturn.target_attempts as a where a.target = target.name;
end
$$;
--> statement-breakpoint
-- targets/start_probe.sql

-- Wakes the account that has waited longest for a target whose time to be tried has come: its head is the probe. After a probe that
-- failed, heads that were not tried yet come first: they tell an outage from a crowd of events that fail by their own fault.
create or replace function inturn.start_probe(target inturn.targets) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  account record;
begin
  select a.id, a.epoch into account from inturn.accounts as a
  where a.state = 'waiting' and a.head_target = target.name and a.paused_at is null
  order by target.failed_probes > 0 and a.head_attempts > 0, a.state_since
  limit 1
  for update skip locked;
  if not found then
    return;
  end if;
  update inturn.accounts as a set state = 'scheduled', state_since = clock_timestamp() where a.id = account.id;
  update inturn.targets as t
  set state = 'half-open', since = clock_timestamp(), probe_account = account.id, next_probe_at = null, by_hand = false
  where t.name = target.name;
  perform inturn.wake(array[account.id], array[account.epoch]);
end
$$;
--> statement-breakpoint
-- targets/target_backoff.sql

-- How long a target is left alone after so many failed probes: a second, twice as long each time, a minute at most; each time a
-- little less, so that several targets are not tried at the same moment.
create or replace function inturn.target_backoff(failed_probes integer) returns interval
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select least(60, power(2, least(failed_probes, 10))) * (0.75 + random() / 4) * interval '1 second'
$$;
--> statement-breakpoint
-- targets/tend_targets.sql

-- Does for every target what its time has come for, and answers those that are not closed or are suspected. Every worker calls it
-- a few times a second; one of them at a time does the work. It looks at what is, not at what happened: whichever step a worker
-- died in, the next call goes on from there.
create or replace function inturn.tend_targets()
returns table (target text, state text, suspected boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  tender_lock constant bigint := 4917238004;
  -- One call locks at most so many accounts of a target.
  accounts_max constant integer := 1000;
  current_row inturn.targets;
begin
  if pg_try_advisory_xact_lock(tender_lock) then
    for current_row in
      select t.* from inturn.targets as t
      where t.state <> 'closed' or exists (select from inturn.accounts as a where a.state = 'waiting' and a.head_target = t.name)
      order by t.name
      for update skip locked
    loop
      if current_row.state = 'closed' then
        perform inturn.wake_waiting(current_row, accounts_max);
        continue;
      end if;
      perform inturn.gather_waiting(current_row, accounts_max);
      if current_row.state = 'open' and current_row.next_probe_at <= clock_timestamp() then
        perform inturn.start_probe(current_row);
      elsif current_row.state = 'half-open' and current_row.since < clock_timestamp() - interval '1 second' and not exists (
        select from inturn.accounts as a
        where a.id = current_row.probe_account and (a.state = 'running' or a.state = 'scheduled' and a.paused_at is null)
      ) then
        -- Nobody will say how the probe went: it was skipped or paused, or its worker died again and again. Another one is tried.
        update inturn.targets as t
        set state = 'open', since = clock_timestamp(), probe_account = null, next_probe_at = clock_timestamp()
        where t.name = current_row.name;
      end if;
    end loop;
  end if;
  return query
  select t.name, t.state, coalesce(t.suspected_at > clock_timestamp() - interval '10 seconds', false)
  from inturn.targets as t
  where t.state <> 'closed' or t.suspected_at > clock_timestamp() - interval '10 seconds';
end
$$;
--> statement-breakpoint
-- targets/trip_target.sql

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
--> statement-breakpoint
-- targets/wake_waiting.sql

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
--> statement-breakpoint
-- upgrade/oldest_program.sql

-- The oldest program that may work with these tables, by the newest migration that it has to know, in ms since 1970. Older ones refuse
-- to start.
--
-- A release that adds something leaves it alone: programs of the version before go on while the new ones are rolled out. A release that
-- takes something away raises it to the migration of the first version that does without.
create or replace function inturn.oldest_program() returns bigint
language sql immutable parallel safe
return 1795654223497;
--> statement-breakpoint
-- views/account_results.sql

-- One row per account. The head is the first event that is not settled; every event after it waits for it.
create or replace view inturn.account_results as
select
  a.id as account_id,
  inturn.shown_state(a.state, a.paused_at) as state,
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
  case when a.state = 'blocked' then a.state_since end as blocked_since,
  case when a.state = 'waiting' then a.head_target end as waits_for
from inturn.accounts as a
left join inturn.events as first on first.account_id = a.id and first.seq = 1
left join inturn.events as last on last.account_id = a.id and last.seq = a.processed_seq
left join inturn.events as head on head.account_id = a.id and head.seq = a.processed_seq + 1;
--> statement-breakpoint
-- views/dead_letters.sql

-- Every dead letter, with the reason.
create or replace view inturn.dead_letters as
select e.account_id, e.seq, e.event_id, e.type, e.data, e.received_at, e.processed_at as set_aside_at, e.attempts, e.error
from inturn.accounts as a
join inturn.events as e on e.account_id = a.id and e.outcome = 'dead'
where a.dead > 0;
--> statement-breakpoint
-- views/event_results.sql

-- One row per event. `wait_ms` is from received to started, `duration_ms` the handler's own time.
create or replace view inturn.event_results as
select
  e.account_id,
  e.seq,
  e.event_id,
  e.type,
  e.data,
  e.received_at,
  e.started_at,
  e.processed_at,
  case when head.is_head then a.head_attempts else e.attempts end as attempts,
  inturn.event_state(e.outcome, head.is_head, a.state) as state,
  (extract(epoch from e.started_at - e.received_at) * 1000)::double precision as wait_ms,
  e.duration_ms
from inturn.events as e
join inturn.accounts as a on a.id = e.account_id
cross join lateral (select e.seq = a.processed_seq + 1 as is_head) as head;
--> statement-breakpoint
-- views/failed_attempts.sql

-- One row per attempt that failed, the last 20 of each event. `next` is what became of the event then.
create or replace view inturn.failed_attempts as
select t.account_id, t.seq, t.attempt, t.started_at, t.ended_at, t.outcome as next, t.error, t.worker_id from inturn.attempts as t;
--> statement-breakpoint
-- views/operation_status.sql

-- One row per operation on many accounts: how far it is. `left_out` says why accounts were not changed: a count for each code.
create or replace view inturn.operation_status as
select
  o.id,
  o.verb,
  o.filter,
  case when o.cancelled_at is not null then 'cancelled' when o.ended_at is not null then 'done' else 'running' end as state,
  o.matched,
  o.tried,
  coalesce(outcomes.done, 0) as done,
  outcomes.left_out,
  o.rate,
  o.who,
  o.why,
  o.created_at,
  o.ended_at
from inturn.bulk_operations as o
left join lateral (
  select sum(c.accounts) filter (where c.outcome = 'done')::bigint as done,
    json_object_agg(c.outcome, c.accounts order by c.outcome) filter (where c.outcome <> 'done') as left_out
  from (
    select i.outcome, count(*) as accounts from inturn.bulk_operation_items as i
    where i.operation_id = o.id and i.outcome is not null group by i.outcome
  ) as c
) as outcomes on true;
--> statement-breakpoint
-- views/operator_log.sql

-- Every verb that was carried out: who, when, why.
create or replace view inturn.operator_log as
select o.id, o.at, o.verb, o.account_id, o.seq, o.who, o.why, o.target, o.operation_id, o.covers from inturn.operations as o;
--> statement-breakpoint
-- views/order_violations.sql

-- Every breach of the order that the stored facts can show. It must be empty.
--   gap                   a seq is missing
--   overlap               an event started before its predecessor was settled, and not together with it; where turns go ahead of
--                         their settles: before its predecessor's handler had ended
--   settled_out_of_order  an event was settled before its predecessor, or the account's count says otherwise
-- The events are walked once, and asking for one account walks that account only: a condition on `account_id` goes down to them.
create or replace view inturn.order_violations as
with steps as (
  select
    e.account_id, e.seq, e.started_at, e.processed_at, e.unsettled_before > 0 as is_ahead, a.processed_seq, a.pruned_seq,
    lag(e.seq, 1, a.pruned_seq) over step as previous_seq,
    lag(e.processed_at) over step as previous_processed_at,
    lag(e.started_at) over step as previous_started_at,
    lag(e.started_at + e.duration_ms * interval '1 millisecond') over step as previous_ended_at
  from inturn.events as e
  join inturn.accounts as a on a.id = e.account_id and e.seq > a.pruned_seq
  window step as (partition by e.account_id order by e.seq)
)
select s.account_id, s.seq, breach.kind,
  case breach.kind
    when 'gap' then format('the event before it is seq %s', s.previous_seq)
    when 'overlap' then format('started at %s, its predecessor %s at %s', s.started_at, case when s.is_ahead then 'ended' else 'was settled' end,
      coalesce(case when s.is_ahead then s.previous_ended_at else s.previous_processed_at end::text, 'no time'))
    else format('settled at %s, its predecessor at %s', coalesce(s.processed_at::text, 'no time'), coalesce(s.previous_processed_at::text, 'no time'))
  end as detail
from steps as s
cross join lateral (
  values
    ('gap', s.seq <> s.previous_seq + 1),
    ('overlap', s.seq > s.pruned_seq + 1 and s.started_at is distinct from s.previous_started_at and s.started_at is not null
      and (s.previous_processed_at is null or s.started_at < case when s.is_ahead then s.previous_ended_at else s.previous_processed_at end)),
    ('settled_out_of_order', (s.processed_at is not null) <> (s.seq <= s.processed_seq)
      or (s.seq > s.pruned_seq + 1 and s.processed_at < s.previous_processed_at))
) as breach (kind, is_there)
where breach.is_there
union all
select a.id, a.last_seq, 'gap', format('%s of %s events are stored', stored.events, a.last_seq - a.pruned_seq)
from inturn.accounts as a
left join lateral (select count(*) as events from inturn.events as e where e.account_id = a.id and e.seq > a.pruned_seq) as stored on true
where stored.events <> a.last_seq - a.pruned_seq;
--> statement-breakpoint
-- views/pause_status.sql

-- One row per pause of more than one account, with the accounts that rest because of it.
create or replace view inturn.pause_status as
select p.id, p.covers, p.value, p.since, p.until, p.who, p.why, p.rate, count(a.id) as accounts,
  coalesce(sum(a.last_seq - a.processed_seq), 0)::bigint as events
from inturn.pauses as p
left join inturn.accounts as a on a.paused_by = p.id and a.paused_at is not null
group by p.id;
--> statement-breakpoint
-- views/run_summary.sql

-- The whole history in one row. `ideal_seconds` is the floor: one account cannot be faster than its own handler time.
create or replace view inturn.run_summary as
with per_account as (
  select e.account_id, count(*) as events, count(*) filter (where e.outcome = 'processed') as processed,
    sum(e.duration_ms) / 1000 as handler_seconds,
    min(e.received_at) as first_received_at, max(e.processed_at) filter (where e.outcome = 'processed') as last_processed_at
  from inturn.events as e group by e.account_id
), whole as (
  select coalesce(sum(events), 0)::bigint as events, count(*) as accounts, coalesce(sum(processed), 0)::bigint as processed,
    min(first_received_at) as first_received_at, max(last_processed_at) as last_processed_at,
    extract(epoch from max(last_processed_at) - min(first_received_at))::double precision as makespan_seconds,
    max(handler_seconds) as ideal_seconds
  from per_account
)
select w.*, w.ideal_seconds / nullif(w.makespan_seconds, 0) as efficiency from whole as w;
--> statement-breakpoint
-- views/target_status.sql

-- One row per target that is away, or that accounts still wait for.
create or replace view inturn.target_status as
select
  t.name as target,
  t.state,
  t.away_since,
  t.reason,
  t.next_probe_at,
  t.failed_probes,
  t.probe_account,
  t.by_hand,
  waiting.accounts as waiting_accounts,
  waiting.events as waiting_events
from inturn.targets as t
cross join lateral (
  select count(*) as accounts, coalesce(sum(a.last_seq - a.processed_seq), 0)::bigint as events
  from inturn.accounts as a where a.state = 'waiting' and a.head_target = t.name
) as waiting
where t.state <> 'closed' or waiting.accounts > 0;
--> statement-breakpoint
-- views/throughput.sql

-- How many events were received and processed in each second of the database's clock.
create or replace view inturn.throughput as
with received as (
  select date_trunc('second', e.received_at) as second, count(*) as events from inturn.events as e group by 1
), processed as (
  select date_trunc('second', e.processed_at) as second, count(*) as events
  from inturn.events as e where e.outcome = 'processed' group by 1
)
select second, coalesce(r.events, 0) as received, coalesce(p.events, 0) as processed
from received as r full join processed as p using (second)
order by second;
--> statement-breakpoint
-- wake/waits.sql

-- The one rule of who may be woken: an account that waits for a turn. When, is its next_attempt_at; without one, at once. Every
-- statement that changes accounts wakes those that wait afterwards. PostgreSQL puts this expression into the statement itself.
create or replace function inturn.waits(state text, paused_at timestamptz) returns boolean
language sql immutable parallel safe
return state in ('scheduled', 'retrying') and paused_at is null;
--> statement-breakpoint
-- wake/wake.sql

-- Adds the wake-up job of each account. A wake-up is a hint; the account row is the truth.
--
-- The job key is the account and its epoch. A wake-up of a later turn so never meets the row of an earlier one that
-- graphile-worker is still completing: there is no row lock to wait for, no deadlock with its batched completions, and no
-- add_job that returns NULL because the row was taken at that moment (graphile/worker #580). Two wake-ups with one epoch
-- (retry and resume make those) are one job: the second replaces the first.
--
-- Before graphile-worker has made its schema it adds nothing: the reconciler finds those accounts later.
create or replace function inturn.wake(account_ids text[], epochs bigint[], run_at timestamptz[] default null)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
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
$$;
--> statement-breakpoint
-- privileges.sql

-- Privileges are closed by default: whatever this schema has, now or in a later version, PUBLIC may not use, except the three
-- functions that append, and the one that tells programs whether they are too old. Using the schema itself must be granted to a role, with everything else that the role needs.
--
-- Functions run with the rights of the schema's owner and look up what they do not name in full in pg_catalog first. An empty
-- search path would not do: then the caller's temporary schema comes first, and a type of theirs could run code with those rights.
revoke all on schema inturn from public;
revoke all on all tables in schema inturn from public;
revoke all on all sequences in schema inturn from public;
revoke all on all routines in schema inturn from public;
grant execute on function inturn.oldest_program() to public;
grant execute on function inturn.append_event(text, json, text, text) to public;
grant execute on function inturn.append_json(json) to public;
grant execute on function inturn.append_events(text[], json[], text[], text[], timestamptz[]) to public;
