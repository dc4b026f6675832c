-- Adds the wake-up job of each account. A wake-up is a hint; the account row is the truth.
--
-- The job key is the account and its epoch. A wake-up of a later turn so never meets the row of an earlier one that
-- graphile-worker is still completing: there is no row lock to wait for, no deadlock with its batched completions, and no
-- add_job that returns NULL because the row was taken at that moment (graphile/worker #580). Two wake-ups with one epoch
-- (retry and resume make those) are one job: the second replaces the first.
--
-- Before graphile-worker has made its schema it adds nothing: the reconciler finds those accounts later.
create or replace function inturn.wake(account_ids text[], epochs bigint[], run_at timestamptz[] default null)
returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  jobs integer;
begin
  if cardinality(account_ids) = 0 or to_regtype('graphile_worker.job_spec') is null then
    return 0;
  end if;
  select count(*) into jobs
  from graphile_worker.add_jobs(array(
    select row(
      'inturn_turn', json_build_object('accountId', w.account_id), null, w.run_at, null, w.account_id || '#' || w.epoch, null, null
    )::graphile_worker.job_spec
    from unnest(account_ids, epochs, wake.run_at) as w (account_id, epoch, run_at)
  ));
  return jobs;
end
$$;
