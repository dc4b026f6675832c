-- Begins an operation: a verb for all accounts that match now. A worker carries it out little by little; what has changed by then
-- is left out. Answers its id, and how many matched. With `dry_run` nothing is begun, and the id is null.
create or replace function inturn.operate(
  verb text,
  filter json,
  why text default null,
  who text default session_user,
  rate integer default null,
  force boolean default false,
  dry_run boolean default false
)
returns table (id bigint, matched bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  accounts_max constant bigint := 1000000;
  operation_id bigint;
  items bigint;
begin
  if (verb = 'replay') <> (filter ->> 'settledSince' is not null) then
    raise exception using errcode = 'IT009', message = 'replay needs settledSince, and no other verb takes it';
  elsif verb = 'replay' and (filter ->> 'error' is not null or filter ->> 'blockedBefore' is not null) then
    raise exception using errcode = 'IT009', message = 'replay takes neither error nor blockedBefore';
  end if;
  if dry_run then
    return query select null::bigint, count(*) from inturn.matching_accounts(verb, filter);
    return;
  end if;
  insert into inturn.bulk_operations (verb, filter, force, rate, who, why, matched)
  values (verb, filter, force, rate, left(coalesce(who, session_user), 200), left(why, 2000), 0)
  returning bulk_operations.id into operation_id;
  insert into inturn.bulk_operation_items (operation_id, account_id, seq)
  select operation_id, m.account_id, m.seq from inturn.matching_accounts(verb, filter) as m;
  get diagnostics items = row_count;
  if items > accounts_max then
    raise exception using errcode = 'IT010',
      message = format('%s accounts match, %s at once are the most', items, accounts_max),
      hint = 'Give a limit, and begin another operation for the rest.';
  end if;
  update inturn.bulk_operations as o
  set matched = items, ended_at = case when items = 0 then clock_timestamp() end
  where o.id = operation_id;
  if items > 0 then
    perform inturn.wake_operation(operation_id, null);
  end if;
  return query select operation_id, items;
end
$$;
