-- How long a target is left alone after so many failed probes: a second, twice as long each time, a minute at most; each time a
-- little less, so that several targets are not tried at the same moment.
create or replace function inturn.target_backoff(failed_probes integer) returns interval
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select least(60, power(2, least(failed_probes, 10))) * (0.75 + random() / 4) * interval '1 second'
$$;
