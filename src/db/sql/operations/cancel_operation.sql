-- Ends an operation: what is done stays, and nothing more is done. Whether it had not ended yet.
create or replace function inturn.cancel_operation(operation_id bigint, why text default null, who text default session_user)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update inturn.bulk_operations as o
  set cancelled_at = clock_timestamp(), ended_at = clock_timestamp(),
    why = left(concat_ws('; ', o.why, 'cancelled by ' || coalesce(cancel_operation.who, session_user) || coalesce(': ' || cancel_operation.why, '')), 2000)
  where o.id = operation_id and o.ended_at is null;
  return found;
end
$$;
