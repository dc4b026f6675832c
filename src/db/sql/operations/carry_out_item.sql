-- Carries out an operation's verb on one account, if it still is as it was when it matched. Answers `done`, or the code of the
-- error that kept it from being done.
create or replace function inturn.carry_out_item(operation inturn.bulk_operations, item inturn.bulk_operation_items) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  head bigint;
begin
  if operation.verb in ('retry', 'skip') then
    select a.processed_seq + 1 into head from inturn.accounts as a where a.id = item.account_id for update;
    if head is distinct from item.seq then
      return 'account_changed';
    end if;
  end if;
  case operation.verb
    when 'pause' then perform inturn.pause(item.account_id, operation.why, operation.who);
    when 'resume' then perform inturn.resume(item.account_id, operation.why, operation.who);
    when 'retry' then perform inturn.retry(item.account_id, operation.why, operation.who);
    when 'skip' then perform inturn.skip(item.account_id, operation.why, operation.who);
    when 'redrive' then perform inturn.redrive(item.account_id, item.seq, operation.force, operation.why, operation.who);
    when 'replay' then perform inturn.replay(item.account_id, item.seq, operation.why, operation.who);
  end case;
  return 'done';
exception
  when lock_not_available then return 'account_locked';
  when sqlstate 'IT001' then return 'account_not_found';
  when sqlstate 'IT002' then return 'account_running';
  when sqlstate 'IT003' then return 'account_idle';
  when sqlstate 'IT004' then return 'event_not_dead';
  when sqlstate 'IT005' then return 'event_overtaken';
  when sqlstate 'IT006' then return 'event_not_settled';
  when sqlstate 'IT007' then return 'replay_too_large';
  when sqlstate 'IT012' then return 'account_covered';
  when sqlstate 'IT015' then return 'bucket_moving';
end
$$;
