-- Appends one event and returns its seq. See append_events.
create or replace function inturn.append_event(
  account_id text,
  data json,
  type text default null,
  event_id text default null
)
returns table (seq bigint, duplicate boolean)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select a.seq, a.duplicate
  from inturn.append_events(array[account_id], array[data], array[type], array[event_id]) as a
$$;
