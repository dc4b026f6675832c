-- Records that a pause of more than one account was begun or ended.
create or replace function inturn.record_pause(verb text, covers text, value text, who text, why text) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into inturn.operations (verb, covers, who, why)
  values (verb, rtrim(covers || ' ' || value), left(coalesce(who, session_user), 200), left(why, 2000))
$$;
