-- Appends the events of many HTTP requests in one transaction, one request after the other; `sizes` says how many events
-- each request has. A refused request stores nothing, and the others are stored as if it had not been sent. Here it is refused, too,
-- when an account lies in another cell (wrong_cell) or is being moved to one (bucket_moving).
--
-- Plans are pinned to index look-ups: a plan made while the tables were empty would scan them when they are full.
create or replace function inturn.append_requests(
  account_ids text[],
  data json[],
  types text[],
  event_ids text[],
  occurred_at timestamptz[],
  metadata json[],
  expected_seqs bigint[],
  sizes integer[],
  pending_max bigint
)
returns setof inturn.append_answer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  answer inturn.append_answer;
  size integer;
  first integer := 1;
  some_elsewhere constant boolean := exists (select from inturn.find_elsewhere(account_ids));
  elsewhere record;
begin
  -- Accounts that lie in another cell are not made here.
  perform inturn.lock_accounts(case when some_elsewhere then array(
    select w.id from unnest(account_ids) as w (id) where not exists (select from inturn.find_elsewhere(array[w.id]))
  ) else account_ids end);
  -- First all of them as one request: when that is not refused, none of them would be refused alone.
  if not some_elsewhere then
    for answer in
      select * from inturn.append_locked(account_ids, data, types, event_ids, occurred_at, metadata, expected_seqs, pending_max)
    loop
      exit when answer.seq is null;
      return next answer;
    end loop;
    if answer.seq is not null or cardinality(account_ids) = 0 then
      return;
    end if;
  end if;
  foreach size in array sizes loop
    select f.index, case when f.cell is null then 'bucket_moving' else 'wrong_cell' end as refusal into elsewhere from inturn.find_elsewhere(account_ids[first:first + size - 1]) as f;
    if found then
      return query select w.id, null::bigint, null::boolean, case when w.number = elsewhere.index then elsewhere.refusal end, null::bigint
      from unnest(account_ids[first:first + size - 1]) with ordinality as w (id, number) order by w.number;
    else
      return query select * from inturn.append_locked(
        account_ids[first:first + size - 1], data[first:first + size - 1], types[first:first + size - 1],
        event_ids[first:first + size - 1], occurred_at[first:first + size - 1], metadata[first:first + size - 1],
        expected_seqs[first:first + size - 1], pending_max
      );
    end if;
    first := first + size;
  end loop;
end
$$;
