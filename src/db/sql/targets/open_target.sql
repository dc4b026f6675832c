-- Opens a target by hand: none of its events starts until a person closes it, or, with `until`, until then, when it is tried
-- with one event. It cannot be opened for nothing: `why` is recorded, and shown wherever the target is.
create or replace function inturn.open_target(
  target text,
  why text default null,
  who text default session_user,
  until timestamptz default null
)
returns table (state text, accounts bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  found_row inturn.targets;
begin
  if coalesce(length(open_target.target) not between 1 and 100, true) then
    raise exception using errcode = 'IT009', message = 'a target has a name of 1 to 100 characters';
  end if;
  found_row := inturn.lock_target(open_target.target);
  if found_row.name is null then
    raise exception using errcode = 'IT009', message = 'there are 1000 targets already, which is the most';
  end if;
  update inturn.targets as t
  set state = 'open', since = clock_timestamp(), away_since = coalesce(t.away_since, clock_timestamp()), by_hand = true,
    reason = left(coalesce(why, 'opened by ' || who), 2000), probe_account = null, next_probe_at = until,
    suspected_since = null, suspected_at = null
  where t.name = found_row.name;
  insert into inturn.operations (verb, target, who, why)
  values ('open', found_row.name, left(coalesce(who, session_user), 200), left(why, 2000));
  return query select 'open', (
    select count(*) from inturn.accounts as a where a.state = 'waiting' and a.head_target = found_row.name
  );
end
$$;
