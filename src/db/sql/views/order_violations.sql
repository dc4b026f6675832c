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
