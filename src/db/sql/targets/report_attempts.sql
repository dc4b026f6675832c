-- Takes note of how one worker's last attempts of a target went, and opens the target when those of all workers show
-- an outage. Every worker reports while a target is suspected; until all have had the time to, nothing is concluded.
create or replace function inturn.report_attempts(
  target text,
  worker_id uuid,
  attempts integer,
  failed integer,
  failed_accounts text[],
  attempts_min integer,
  accounts_min integer,
  failed_share double precision,
  last_error text
)
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  window_length constant interval := '10 seconds';
  heard_within constant interval := '1 second';
  heard_after constant interval := '600 milliseconds';
  found_row inturn.targets := inturn.lock_target(report_attempts.target);
  everybody record;
begin
  if found_row.name is null or found_row.state <> 'closed' then
    return;
  end if;
  insert into inturn.target_attempts as a (target, worker_id, attempts, failed, failed_accounts)
  values (
    found_row.name, report_attempts.worker_id, report_attempts.attempts, report_attempts.failed, report_attempts.failed_accounts
  )
  on conflict (target, worker_id) do update
  set at = clock_timestamp(), attempts = excluded.attempts, failed = excluded.failed, failed_accounts = excluded.failed_accounts;
  if report_attempts.failed > 0 then
    if coalesce(found_row.suspected_at < clock_timestamp() - window_length, true) then
      found_row.suspected_since := clock_timestamp();
    end if;
    update inturn.targets as t set suspected_since = found_row.suspected_since, suspected_at = clock_timestamp()
    where t.name = found_row.name;
  end if;
  if found_row.suspected_since > clock_timestamp() - heard_after then
    return;
  end if;
  select sum(a.attempts) as attempts, sum(a.failed) as failed,
    (select count(distinct account) from inturn.target_attempts as b, unnest(b.failed_accounts) as account
     where b.target = found_row.name and b.at > clock_timestamp() - heard_within) as accounts
  into everybody
  from inturn.target_attempts as a where a.target = found_row.name and a.at > clock_timestamp() - heard_within;
  if everybody.attempts >= attempts_min and everybody.accounts >= accounts_min
    and everybody.failed >= everybody.attempts * failed_share
  then
    perform inturn.trip_target(found_row.name, format(
      '%s of the last %s attempts failed, the last one with: %s', everybody.failed, everybody.attempts, last_error
    ));
  end if;
end
$$;
