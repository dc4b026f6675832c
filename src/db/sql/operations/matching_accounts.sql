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
