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
