-- Deletes the workers that are gone and frees their accounts. A worker is gone when its lease has expired, or when its
-- advisory lock has ended with its process and it has not renewed its lease for `lifeless_ms` either.
--
-- Orphaned accounts are searched for only when a worker was found gone, or when `sweeps` says so: the search reads every
-- running account.
--
-- A worker may start and claim an account while that account is being found orphaned. So each account is judged twice: once
-- to find it, and again after its row is locked, by a statement that begins then and sees every worker that could have
-- claimed it.
--
-- The first takeover is immediate. A head whose workers die again and again may be what kills them: it waits longer each time,
-- and a different time than other accounts, so that they are handled in between. From the second attempt on, a call of the
-- handler is recorded before it is made; an attempt without that record is not counted.
create or replace function inturn.take_over(
  accounts_max integer,
  life_lock_class integer,
  lifeless_ms integer,
  judges boolean,
  sweeps boolean,
  out workers_gone integer,
  out taken_over integer
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  pools text[];
  orphaned text[];
begin
  workers_gone := 0;
  taken_over := 0;
  if judges then
    with life as materialized (
      select l.objid::bigint as key from pg_locks as l
      where l.locktype = 'advisory' and l.classid = life_lock_class and l.objsubid = 2 and l.granted
        and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    ), gone as (
      delete from inturn.workers as w
      where w.lease_expires_at < clock_timestamp()
        or w.renewed_at < clock_timestamp() - lifeless_ms * interval '1 millisecond'
          and w.life_key is not null and w.life_key not in (select l.key from life as l)
      returning w.graphile_pool
    )
    select count(*), array_agg(g.graphile_pool) filter (where g.graphile_pool is not null) into workers_gone, pools from gone as g;
    -- Frees the jobs that graphile-worker had locked for them; by itself it would wait for four hours.
    if cardinality(pools) > 0 then
      perform graphile_worker.force_unlock_workers(pools);
    end if;
  end if;
  if workers_gone = 0 and not sweeps then
    return;
  end if;

  -- Two steps, first found, then locked in id order: in one step the planner may read all accounts in the order of their ids.
  orphaned := array(
    select a.id from inturn.accounts as a
    where a.state = 'running' and not exists (select from inturn.workers as w where w.id = a.lease_worker)
    limit accounts_max
  );
  orphaned := array(
    select a.id from inturn.accounts as a where a.id = any (orphaned) and a.state = 'running' order by a.id for update skip locked
  );
  with judged as (
    select a.id, a.processed_seq < a.last_seq as has_head, a.head_attempts > 1 and a.head_started as failed_again,
      a.head_attempts - (a.head_attempts > 1 and not a.head_started)::integer as attempts,
      a.processed_seq + 1 as seq, a.lease_worker
    from inturn.accounts as a
    where a.id = any (orphaned) and a.state = 'running'
      and not exists (select from inturn.workers as w where w.id = a.lease_worker)
  ), freed as (
    update inturn.accounts as a
    set state = case when not j.has_head then 'idle' when j.failed_again then 'retrying' else 'scheduled' end,
      next_attempt_at = case when j.has_head and j.failed_again
        then clock_timestamp() + interval '1 second' * power(2, least(j.attempts - 2, 6)) * (0.5 + random() / 2) end,
      head_attempts = case when j.has_head then j.attempts else 0 end,
      head_error = case when j.has_head then 'the worker that handled it is gone' end,
      state_since = clock_timestamp(), lease_worker = null
    from judged as j where a.id = j.id
    returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits
  ), remembered as (
    insert into inturn.attempts as t (account_id, seq, slot, attempt, worker_id, started_at, ended_at, outcome, error)
    select j.id, j.seq, j.attempts % 20, j.attempts, j.lease_worker, null, clock_timestamp(), 'lost', 'the worker that handled it is gone'
    from judged as j where j.has_head and j.failed_again
    on conflict (account_id, seq, slot) do update
    set attempt = excluded.attempt, worker_id = excluded.worker_id, started_at = null, ended_at = excluded.ended_at,
      outcome = excluded.outcome, error = excluded.error
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at))
    from freed as f where f.waits having count(*) > 0
  )
  select count(*) into taken_over from freed left join woken on true;
end
$$;
