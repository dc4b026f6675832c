-- Hands a dead letter out again: at its own seq, while every event after it is still pending and none was started.
-- Later only `force` does it, by appending a copy at the end; `seq` is the seq of the copy.
create or replace function inturn.redrive(
  account_id text,
  dead_seq bigint,
  force boolean default false,
  why text default null,
  who text default session_user
)
returns table (state text, seq bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  account inturn.accounts := inturn.lock_account(redrive.account_id);
  letter inturn.events;
begin
  select * into letter from inturn.events as e
  where e.account_id = account.id and e.seq = dead_seq and e.outcome = 'dead';
  if not found then
    raise exception using errcode = 'IT004', message = format('event %s of account %L is no dead letter', dead_seq, account.id);
  end if;
  perform inturn.record_operation('redrive', account.id, letter.seq, who, why);
  account.dead := account.dead - 1;
  if account.processed_seq = letter.seq and account.state in ('idle', 'scheduled') and account.head_attempts = 0 then
    account.processed_seq := letter.seq - 1;
    update inturn.accounts as a set pruned_seq = least(a.pruned_seq, account.processed_seq) where a.id = account.id;
    update inturn.events as e
    set outcome = null, processed_at = null, started_at = null, duration_ms = null, unsettled_before = null, error = null
    where e.account_id = account.id and e.seq = letter.seq;
    return query select inturn.reschedule(account, letter.attempts), letter.seq;
    return;
  end if;
  if not force then
    raise exception using errcode = 'IT005',
      message = format('events after seq %s of account %L were handled or started already', letter.seq, account.id),
      hint = 'Redrive it with force: a copy is appended at the end of the account.';
  end if;
  account.last_seq := account.last_seq + 1;
  account.skipped := account.skipped + 1;
  insert into inturn.events (account_id, seq, type, data, metadata, occurred_at, received_at, bytes)
  values (
    account.id, account.last_seq, letter.type, letter.data, letter.metadata, letter.occurred_at, clock_timestamp(), letter.bytes
  );
  update inturn.events as e set outcome = 'skipped', error = format('redriven as seq %s', account.last_seq)
  where e.account_id = account.id and e.seq = letter.seq;
  update inturn.accounts as a
  set last_seq = account.last_seq, dead = account.dead, skipped = account.skipped
  where a.id = account.id and account.state <> 'idle';
  return query select case account.state when 'idle' then inturn.reschedule(account) else account.state end, account.last_seq;
end
$$;
