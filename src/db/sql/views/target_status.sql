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
