-- Closes a target by hand, whoever opened it: its accounts are woken little by little. `accounts` wait for it now.
create or replace function inturn.close_target(target text, why text default null, who text default session_user)
returns table (state text, accounts bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  found_row inturn.targets;
begin
  select * into found_row from inturn.targets as t where t.name = close_target.target for update;
  if found_row.name is null or found_row.state = 'closed' then
    raise exception using errcode = 'IT008', message = format('target %L is not open', close_target.target);
  end if;
  perform inturn.shut_target(found_row);
  insert into inturn.operations (verb, target, who, why)
  values ('close', found_row.name, left(coalesce(who, session_user), 200), left(why, 2000));
  return query select 'closed', (
    select count(*) from inturn.accounts as a where a.state = 'waiting' and a.head_target = found_row.name
  );
end
$$;
