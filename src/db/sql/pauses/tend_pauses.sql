-- Does what the time has come for: ends pauses whose time is over, lets events start of those that end little by little, and wakes the
-- accounts that rest because of a pause that is no more. It looks at what is, not at what happened: a worker that had not heard of the
-- end yet may let an account rest after it. Answers how many accounts it let go on.
create or replace function inturn.tend_pauses() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  tender_lock constant bigint := 4917238005;
  accounts_max constant integer := 1000;
  pause inturn.pauses;
  due_by timestamptz;
  allowed integer;
  freed integer;
  released integer := 0;
  ended bigint := 0;
begin
  if not pg_try_advisory_xact_lock(tender_lock) then
    return 0;
  end if;
  -- From one pause to the next, by the index: there are few, and many accounts may rest because of one.
  loop
    select a.paused_by into ended from inturn.accounts as a
    where a.paused_by > ended and a.paused_at is not null
    order by a.paused_by
    limit 1;
    exit when not found or not exists (select from inturn.pauses as p where p.id = ended);
  end loop;
  if ended is not null then
    released := inturn.release_paused(ended, accounts_max);
  end if;
  for pause in
    select p.* from inturn.pauses as p where p.until <= clock_timestamp() or p.rate is not null order by p.id
  loop
    if pause.rate is null then
      perform inturn.end_pause(pause.covers, pause.value, null, 'its time was over', 'inturn');
      continue;
    end if;
    -- What could not be used for more than a second is not made up for.
    due_by := greatest(pause.released_at, clock_timestamp() - interval '1 second');
    allowed := floor(pause.rate * extract(epoch from clock_timestamp() - due_by));
    continue when allowed < 1;
    freed := inturn.release_paused(pause.id, allowed);
    released := released + freed;
    if ended is null and freed < allowed and not exists (select from inturn.accounts as a where a.paused_by = pause.id and a.paused_at is not null)
      and not inturn.has_due(pause)
    then
      -- Nobody rests any more: by themselves fewer events start now than may.
      perform inturn.end_pause(pause.covers, pause.value, null, 'fewer events of it start than may', 'inturn');
      continue;
    end if;
    update inturn.pauses as p set released_at = due_by + freed / p.rate::double precision * interval '1 second' where p.id = pause.id;
  end loop;
  return released;
end
$$;
