-- Which accounts an operation is for, and with which head; of `redrive` which dead letters. `filter` may have `states`, `prefix`,
-- `type`, `error`, `blockedBefore` and `limit`. A verb matches only accounts that it can do something for. It reads all accounts once.
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
      (filter ->> 'limit')::bigint as most
  ), heads as (
    select a.id as account_id, a.processed_seq + 1 as seq, a.head_error as error, a.state_since as since, e.type
    from wanted as w
    cross join inturn.accounts as a
    left join inturn.events as e on w.type is not null and e.account_id = a.id and e.seq = a.processed_seq + 1
    where verb <> 'redrive'
      and case verb
        when 'pause' then a.paused_at is null
        when 'resume' then a.paused_at is not null
        when 'retry' then a.state in ('blocked', 'retrying', 'waiting')
        else a.state in ('blocked', 'retrying', 'waiting', 'scheduled')
      end
      and (cardinality(w.states) = 0
        or case when a.paused_at is not null and a.state <> 'running' then 'paused' else a.state end = any (w.states))
  ), dead as (
    select e.account_id, e.seq, e.error, e.processed_at as since, e.type
    from inturn.accounts as a
    join inturn.events as e on e.account_id = a.id and e.outcome = 'dead'
    where verb = 'redrive' and a.dead > 0
  )
  select m.account_id, m.seq
  from (select * from heads union all select * from dead) as m
  cross join wanted as w
  where starts_with(m.account_id, w.prefix)
    and (w.type is null or m.type = w.type or right(w.type, 1) = '*' and starts_with(m.type, left(w.type, -1)))
    and (w.error is null or position(w.error in lower(m.error)) > 0)
    and (w.blocked_before is null or m.since < w.blocked_before)
  order by m.account_id collate "C", m.seq
  limit (select w.most from wanted as w)
$$;
