-- Does for every target what its time has come for, and answers those that are not closed or are suspected. Every worker calls it
-- a few times a second; one of them at a time does the work. It looks at what is, not at what happened: whichever step a worker
-- died in, the next call goes on from there.
create or replace function inturn.tend_targets()
returns table (target text, state text, suspected boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  tender_lock constant bigint := 4917238004;
  -- One call locks at most so many accounts of a target.
  accounts_max constant integer := 1000;
  current_row inturn.targets;
begin
  if pg_try_advisory_xact_lock(tender_lock) then
    for current_row in
      select t.* from inturn.targets as t
      where t.state <> 'closed' or exists (select from inturn.accounts as a where a.state = 'waiting' and a.head_target = t.name)
      order by t.name
      for update skip locked
    loop
      if current_row.state = 'closed' then
        perform inturn.wake_waiting(current_row, accounts_max);
        continue;
      end if;
      perform inturn.gather_waiting(current_row, accounts_max);
      if current_row.state = 'open' and current_row.next_probe_at <= clock_timestamp() then
        perform inturn.start_probe(current_row);
      elsif current_row.state = 'half-open' and current_row.since < clock_timestamp() - interval '1 second' and not exists (
        select from inturn.accounts as a
        where a.id = current_row.probe_account and (a.state = 'running' or a.state = 'scheduled' and a.paused_at is null)
      ) then
        -- Nobody will say how the probe went: it was skipped or paused, or its worker died again and again. Another one is tried.
        update inturn.targets as t
        set state = 'open', since = clock_timestamp(), probe_account = null, next_probe_at = clock_timestamp()
        where t.name = current_row.name;
      end if;
    end loop;
  end if;
  return query
  select t.name, t.state, coalesce(t.suspected_at > clock_timestamp() - interval '10 seconds', false)
  from inturn.targets as t
  where t.state <> 'closed' or t.suspected_at > clock_timestamp() - interval '10 seconds';
end
$$;
