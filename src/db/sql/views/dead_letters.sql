-- Every dead letter, with the reason.
create or replace view inturn.dead_letters as
select e.account_id, e.seq, e.event_id, e.type, e.data, e.received_at, e.processed_at as set_aside_at, e.attempts, e.error
from inturn.accounts as a
join inturn.events as e on e.account_id = a.id and e.outcome = 'dead'
where a.dead > 0;
