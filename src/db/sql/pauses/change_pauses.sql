-- Locks the list of pauses for a change, and answers its new version. Who changes the list calls it first: so versions grow in the
-- order in which changes are seen.
create or replace function inturn.change_pauses() returns bigint
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into inturn.pause_list as l (only_row, version) values (true, 1)
  on conflict (only_row) do update set version = l.version + 1
  returning l.version
$$;
