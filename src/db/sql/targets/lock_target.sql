-- Locks a target's row, which is made unless it is there. Handlers may name targets as they like: beyond a thousand there is none,
-- and the answer is null. Whoever locks a target and accounts locks the target first.
create or replace function inturn.lock_target(target text) returns inturn.targets
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  targets_max constant integer := 1000;
  found_row inturn.targets;
begin
  select * into found_row from inturn.targets as t where t.name = target for update;
  if found then
    return found_row;
  end if;
  if (select count(*) from inturn.targets) >= targets_max then
    return null;
  end if;
  insert into inturn.targets (name) values (target) on conflict do nothing;
  select * into found_row from inturn.targets as t where t.name = target for update;
  return found_row;
end
$$;
