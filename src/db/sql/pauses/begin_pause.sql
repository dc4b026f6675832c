-- Pauses everything (`covers` is `all`), every event of a type (`type`, where a * at the end of the value stands for any end), or
-- every account whose id begins with a prefix (`prefix`): no event of it starts on a worker that has heard of this version of
-- the list, also of accounts that come later. With `until` it ends by itself. A pause that stands already gets this
-- end and this reason, and is whole again if it was ending little by little.
create or replace function inturn.begin_pause(
  covers text,
  value text default '',
  until timestamptz default null,
  why text default null,
  who text default session_user
)
returns table (id bigint, version bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  -- Workers look at all of them before every event.
  pauses_max constant integer := 100;
  value_max constant integer := 255;
  list_version bigint := inturn.change_pauses();
  pause_id bigint;
begin
  if begin_pause.covers is null or begin_pause.covers not in ('all', 'type', 'prefix') then
    raise exception using errcode = 'IT009', message = 'a pause is of all, of a type or of a prefix';
  elsif begin_pause.value is null or (begin_pause.covers = 'all') <> (begin_pause.value = '') or length(begin_pause.value) > value_max then
    raise exception using errcode = 'IT009',
      message = format('a type or a prefix has 1 to %s characters; a pause of everything has none', value_max);
  elsif begin_pause.until <= clock_timestamp() then
    raise exception using errcode = 'IT009', message = 'the end of the pause has passed already';
  end if;
  insert into inturn.pauses as p (covers, value, until, who, why)
  values (
    begin_pause.covers, begin_pause.value, begin_pause.until, left(coalesce(begin_pause.who, session_user), 200),
    left(begin_pause.why, 2000)
  )
  on conflict (covers, value) do update
  set until = excluded.until, who = excluded.who, why = excluded.why, rate = null, released_at = null
  returning p.id into pause_id;
  if (select count(*) from inturn.pauses) > pauses_max then
    raise exception using errcode = 'IT009', message = format('there are %s pauses already, which is the most', pauses_max);
  end if;
  perform inturn.record_pause('pause', begin_pause.covers, begin_pause.value, begin_pause.who, begin_pause.why);
  return query select pause_id, list_version;
end
$$;
