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
