-- What must be true before anything is made. Both ways to migrate, ours and drizzle-kit's, come through here.
do $$
begin
  if to_regclass('inturn.accounts') is not null then
    raise exception 'this database was made by a development version of Inturn, which cannot be upgraded'
      using hint = 'Use a new database, or drop the schemas inturn and graphile_worker of this one, with all their events.';
  end if;
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'this database has the encoding %; Inturn needs UTF8', current_setting('server_encoding')
      using hint = 'Create one with: create database NAME encoding ''UTF8'' template template0';
  end if;
end
$$;
