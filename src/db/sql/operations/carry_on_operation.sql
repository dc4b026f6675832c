-- Does the next part of an operation: up to 200 accounts in the order of their ids, or what its rate allows by now; and adds the
-- job for the part after it. All in one transaction: whoever dies in between has done nothing of this part, and no account is done
-- twice. An account that somebody has locked for a second is left out; a part ends when it has taken two.
create or replace function inturn.carry_on_operation(operation_id bigint) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
  part_max constant bigint := 200;
  operation inturn.bulk_operations;
  item inturn.bulk_operation_items;
  began_at constant timestamptz := clock_timestamp();
  allowed bigint := part_max;
  is_over boolean;
begin
  select * into operation from inturn.bulk_operations as o where o.id = operation_id and o.ended_at is null for update skip locked;
  if not found then
    return;
  end if;
  if operation.rate is not null then
    -- A job with a time is fetched up to a second late: a part may be of two seconds, and no more, also after a long stop.
    allowed := least(
      2 * operation.rate, ceil(operation.rate * extract(epoch from clock_timestamp() - operation.created_at))::bigint - operation.tried
    );
  end if;
  perform set_config('inturn.operation', operation.id::text, true);
  if operation.cancelled_at is null then
    for item in
      select * from inturn.bulk_operation_items as i
      where i.operation_id = operation.id and i.outcome is null
      order by i.account_id, i.seq
      limit greatest(allowed, 0)
    loop
      update inturn.bulk_operation_items as i set outcome = inturn.carry_out_item(operation, item)
      where i.operation_id = item.operation_id and i.account_id = item.account_id and i.seq = item.seq;
      operation.tried := operation.tried + 1;
      exit when clock_timestamp() > began_at + interval '2 seconds';
    end loop;
  end if;
  is_over := operation.tried >= operation.matched or operation.cancelled_at is not null;
  update inturn.bulk_operations as o
  set tried = operation.tried, ended_at = case when is_over then clock_timestamp() end
  where o.id = operation.id;
  perform set_config('inturn.operation', '', true);
  if not is_over then
    perform inturn.wake_operation(
      operation.id, case when operation.rate is not null then clock_timestamp() + interval '250 milliseconds' end
    );
  end if;
end
$$;
