-- Adds the job that carries an operation on. Its key is the operation: there is one such job at a time.
create or replace function inturn.wake_operation(operation_id bigint, run_at timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if to_regtype('graphile_worker.job_spec') is not null then
    perform graphile_worker.add_job(
      'inturn_operate', json_build_object('operationId', operation_id), run_at => wake_operation.run_at,
      max_attempts => 1000, job_key => 'inturn_operate#' || operation_id
    );
  end if;
end
$$;
