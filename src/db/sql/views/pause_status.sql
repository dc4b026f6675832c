-- One row per pause of more than one account, with the accounts that rest because of it.
create or replace view inturn.pause_status as
select p.id, p.covers, p.value, p.since, p.until, p.who, p.why, p.rate, count(a.id) as accounts,
  coalesce(sum(a.last_seq - a.processed_seq), 0)::bigint as events
from inturn.pauses as p
left join inturn.accounts as a on a.paused_by = p.id and a.paused_at is not null
group by p.id;
