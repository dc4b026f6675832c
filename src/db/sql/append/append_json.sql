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
