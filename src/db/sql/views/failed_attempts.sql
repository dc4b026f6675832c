-- One row per attempt that failed, the last 20 of each event. `next` is what became of the event then.
create or replace view inturn.failed_attempts as
select t.account_id, t.seq, t.attempt, t.started_at, t.ended_at, t.outcome as next, t.error, t.worker_id from inturn.attempts as t;
