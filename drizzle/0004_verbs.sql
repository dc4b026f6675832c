-- The operator's verbs. Each one locks the account's row first, does its one thing or refuses with a code, and is recorded
-- with who did it, when, and why. They run with the rights of the schema's owner, and nobody may call them unless granted.
--
-- SQLSTATEs: IT001 no such account, IT002 an event is being handled, IT003 no event waits, IT004 not a dead letter,
-- IT005 later events were handled already, IT006 no settled event has this seq, IT007 too many events to replay.

-- Locks an account for a verb.
create function inturn.lock_account(account_id text) returns inturn.accounts
language plpgsql security definer
set search_path = ''
as $$
declare
  account inturn.accounts;
begin
  select * into account from inturn.accounts as a where a.id = account_id for update;
  if not found then
    raise exception using errcode = 'IT001', message = format('there is no account %L: it never had an event', account_id);
  end if;
  return account;
end
$$;--> statement-breakpoint

-- Refuses a verb that must not meet a handler at work.
create function inturn.refuse_running(account inturn.accounts) returns void
language plpgsql
set search_path = ''
as $$
begin
  if account.state = 'running' then
    raise exception using errcode = 'IT002',
      message = format('event %s of account %L is being handled', account.processed_seq + 1, account.id),
      hint = 'Pause the account: it rests once this event is settled or has failed. Then try again.';
  end if;
end
$$;--> statement-breakpoint

-- Refuses a verb that needs a head.
create function inturn.refuse_idle(account inturn.accounts) returns void
language plpgsql
set search_path = ''
as $$
begin
  if account.processed_seq = account.last_seq then
    raise exception using errcode = 'IT003', message = format('no event of account %L waits', account.id);
  end if;
end
$$;--> statement-breakpoint

-- Records a verb that was carried out.
create function inturn.record_operation(verb text, account_id text, seq bigint, who text, why text) returns void
language sql security definer
set search_path = ''
as $$
  insert into inturn.operations (verb, account_id, seq, who, why)
  values (verb, account_id, seq, left(coalesce(who, session_user), 200), left(why, 2000))
$$;--> statement-breakpoint

-- Puts an account back to work after a verb: idle when nothing waits, scheduled with a wake-up otherwise; its head starts afresh.
create function inturn.reschedule(account inturn.accounts, attempts integer default 0) returns text
language plpgsql security definer
set search_path = ''
as $$
declare
  next_state text := case when account.processed_seq = account.last_seq then 'idle' else 'scheduled' end;
begin
  update inturn.accounts as a
  set last_seq = account.last_seq, processed_seq = account.processed_seq, dead = account.dead, skipped = account.skipped,
    state = next_state, state_since = clock_timestamp(), next_attempt_at = null, parked_until = null,
    head_attempts = attempts, attempts_forgiven = attempts, head_error = null
  where a.id = account.id;
  if account.paused_at is not null then
    return 'paused';
  end if;
  if next_state = 'scheduled' then
    perform inturn.wake(array[account.id], array[account.epoch]);
  end if;
  return next_state;
end
$$;--> statement-breakpoint

-- Pauses an account: nobody claims it until it is resumed, whatever its state. When the answer says `running`, the event
-- with this seq is in a worker's hand: it comes to its end, and nothing after it starts.
create function inturn.pause(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(pause.account_id);
begin
  update inturn.accounts as a set paused_at = coalesce(a.paused_at, clock_timestamp()) where a.id = account.id;
  perform inturn.record_operation('pause', account.id, account.processed_seq + 1, who, why);
  return query select case account.state when 'running' then 'running' else 'paused' end, account.processed_seq + 1;
end
$$;--> statement-breakpoint

-- Ends a pause: the account goes on in the state it is in.
create function inturn.resume(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(resume.account_id);
begin
  update inturn.accounts as a set paused_at = null where a.id = account.id;
  if account.paused_at is not null and account.state in ('scheduled', 'retrying') then
    perform inturn.wake(array[account.id], array[account.epoch], array[account.next_attempt_at]);
  end if;
  perform inturn.record_operation('resume', account.id, account.processed_seq + 1, who, why);
  return query select account.state, account.processed_seq + 1;
end
$$;--> statement-breakpoint

-- Tries the head again, now: it waits no longer, and if it was blocked it has all its attempts before it again.
create function inturn.retry(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = ''
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
$$;--> statement-breakpoint

-- Leaves the head out: it is settled as skipped, and the account goes on with the event behind it.
create function inturn.skip(account_id text, why text default null, who text default session_user)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = ''
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
$$;--> statement-breakpoint

-- Hands a dead letter out again: in its place while everything behind it still waits untouched. Once a later event was
-- started its place is gone: then only `force` does it, by appending a copy, and `seq` says where the copy stands.
create function inturn.redrive(
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
  insert into inturn.events (account_id, seq, type, data, occurred_at, received_at)
  values (account.id, account.last_seq, letter.type, letter.data, letter.occurred_at, clock_timestamp());
  update inturn.events as e set outcome = 'skipped', error = format('redriven as seq %s', account.last_seq)
  where e.account_id = account.id and e.seq = letter.seq;
  update inturn.accounts as a
  set last_seq = account.last_seq, dead = account.dead, skipped = account.skipped
  where a.id = account.id and account.state <> 'idle';
  return query select case account.state when 'idle' then inturn.reschedule(account) else account.state end, account.last_seq;
end
$$;--> statement-breakpoint

-- Handles again every event from this seq on, in order, whatever became of it the first time.
create function inturn.replay(account_id text, from_seq bigint, why text default null, who text default session_user)
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
  if from_seq is null or from_seq < 1 or from_seq > account.processed_seq then
    raise exception using errcode = 'IT006', message = format('account %L has no settled event %s', account.id, from_seq),
      hint = format('Its settled events are 1 to %s.', account.processed_seq);
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

-- Compiling its plans would take many times as long as an append does.
alter function inturn.append_events(text[], json[], text[], text[], timestamptz[]) set jit = off;--> statement-breakpoint

-- PostgreSQL lets everybody call a new function. Appending stays open to whoever may use the schema; the rest does not.
--
-- Every function looks up what it does not name in full in pg_catalog first. An empty search path would not do: then the
-- caller's temporary schema comes first, and a type of theirs could run code with the rights of the schema's owner.
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
