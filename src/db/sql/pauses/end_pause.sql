-- Ends a pause. Without `rate` it covers nothing any more, and the accounts that rest because of it are woken. With it, so many
-- events of it start in a second, those of the accounts first that have rested longest, until fewer start than may.
-- Answers how many accounts rest because of it.
create or replace function inturn.end_pause(
  covers text,
  value text default '',
  rate integer default null,
  why text default null,
  who text default session_user
)
returns table (id bigint, accounts bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  rate_max constant integer := 10000;
  pause_id bigint;
begin
  if end_pause.rate not between 1 and rate_max then
    raise exception using errcode = 'IT009', message = format('a rate is 1 to %s events a second', rate_max);
  end if;
  perform inturn.change_pauses();
  if end_pause.rate is null then
    delete from inturn.pauses as p where p.covers = end_pause.covers and p.value = end_pause.value returning p.id into pause_id;
  else
    update inturn.pauses as p set rate = end_pause.rate, released_at = clock_timestamp(), until = null
    where p.covers = end_pause.covers and p.value = end_pause.value
    returning p.id into pause_id;
  end if;
  if pause_id is null then
    raise exception using errcode = 'IT011', message = format('%s is not paused', rtrim(end_pause.covers || ' ' || end_pause.value)),
      hint = 'A pause ends under the name that it began under; accounts that were paused one by one are resumed one by one.';
  end if;
  perform inturn.record_pause('resume', end_pause.covers, end_pause.value, end_pause.who, end_pause.why);
  return query select pause_id, (select count(*) from inturn.accounts as a where a.paused_by = pause_id and a.paused_at is not null);
end
$$;
