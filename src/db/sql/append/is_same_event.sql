-- Whether two events with the same id are the same event. White space in the data and the order of its keys do not count.
create or replace function inturn.is_same_event(
  type text, data json, occurred_at timestamptz, other_type text, other_data json, other_occurred_at timestamptz
)
returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select type is not distinct from other_type and occurred_at is not distinct from other_occurred_at
    and case when data::text = other_data::text then true else data::jsonb = other_data::jsonb end
$$;
