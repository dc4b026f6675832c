-- Whether an account that the pause covers has been due for a second, and no worker has looked at it: it does not rest yet.
create or replace function inturn.has_due(pause inturn.pauses) returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from inturn.accounts as a
    left join inturn.events as e on e.account_id = a.id and e.seq = a.processed_seq + 1
    where a.state in ('scheduled', 'retrying') and a.paused_at is null
      and coalesce(a.next_attempt_at, a.state_since) < clock_timestamp() - interval '1 second'
      and a.paused_by is distinct from pause.id
      and inturn.is_covered(pause, a.id, e.type)
  )
$$;
