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
