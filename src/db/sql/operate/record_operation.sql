-- Records a verb that was carried out.
create or replace function inturn.record_operation(verb text, account_id text, seq bigint, who text, why text) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into inturn.operations (verb, account_id, seq, who, why)
  values (verb, account_id, seq, left(coalesce(who, session_user), 200), left(why, 2000))
$$;
