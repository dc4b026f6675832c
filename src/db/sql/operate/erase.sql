-- Removes everything of an account, events that wait as well, and answers how many events that were. Nothing of it is left in these
-- tables, also no record of this call. If it gets events again, they begin with seq 1.
--
-- A worker that was stopped long ago may still hold an old lease. So an account that is made from now on begins beyond every epoch
-- that an erased one had (see lock_accounts).
create or replace function inturn.erase(account_id text) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  account inturn.accounts := inturn.lock_account(erase.account_id);
  events bigint;
begin
  perform inturn.refuse_running(account);
  -- Not undone by a rollback, which does no harm.
  perform setval('inturn.first_epoch', greatest(f.last_value, account.epoch + 1)) from inturn.first_epoch as f;
  delete from inturn.events as e where e.account_id = account.id;
  get diagnostics events = row_count;
  delete from inturn.attempts as t where t.account_id = account.id;
  delete from inturn.operations as o where o.account_id = account.id;
  delete from inturn.bulk_operation_items as i using inturn.bulk_operations as b
  where i.operation_id = b.id and i.account_id = account.id;
  update inturn.target_attempts as t
  set failed_accounts = array_remove(t.failed_accounts, account.id::text)
  where account.id = any (t.failed_accounts);
  if to_regtype('graphile_worker.job_spec') is not null then
    perform graphile_worker.remove_job(account.id || '#' || account.epoch);
  end if;
  delete from inturn.accounts as a where a.id = account.id;
  return events;
end
$$;
