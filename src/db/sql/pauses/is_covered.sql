-- Whether a pause covers the events of this type in this account.
create or replace function inturn.is_covered(pause inturn.pauses, account_id text, type text) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case pause.covers
    when 'all' then true
    when 'prefix' then starts_with(account_id, pause.value)
    else inturn.is_of_type(type, pause.value)
  end
$$;
