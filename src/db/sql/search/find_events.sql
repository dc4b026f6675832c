-- Looks for events in the order of accounts and seqs, after a position, and stops when it has found `events_max` or has looked at
-- 20,000 accounts or events. `filter` may have `id`, `type`, `error`, `state`, `prefix`, `receivedFrom` and `receivedTo`. An id is looked up
-- in each account; for an error only accounts are looked at that have one; for a time only the events of that time.
--
-- Answers what it found, how much it looked at, and the position to go on from, which is null when there is nothing more to look at.
create or replace function inturn.find_events(
  filter json,
  after_account text,
  after_seq bigint,
  events_max integer,
  out account_ids text[],
  out seqs bigint[],
  out accounts_looked integer,
  out events_looked integer,
  out last_account text,
  out last_seq bigint
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  looks_max constant integer := 20000;
  wanted_id constant text := filter ->> 'id';
  wanted_type constant text := filter ->> 'type';
  wanted_error constant text := lower(filter ->> 'error');
  wanted_state constant text := filter ->> 'state';
  prefix constant text := coalesce(filter ->> 'prefix', '');
  received_from constant timestamptz := filter ->> 'receivedFrom';
  received_to constant timestamptz := filter ->> 'receivedTo';
  account inturn.accounts;
  event record;
  first_seq bigint;
  end_seq bigint;
begin
  account_ids := '{}';
  seqs := '{}';
  accounts_looked := 0;
  events_looked := 0;
  for account in
    -- In byte order no id that begins with the prefix comes after the prefix with the last of all characters behind it.
    select * from inturn.accounts as a
    where a.id >= greatest(after_account, prefix) collate "C" and a.id <= (prefix || chr(1114111)) collate "C"
    order by a.id
  loop
    if accounts_looked >= looks_max or events_looked >= looks_max or cardinality(seqs) >= events_max then
      return;
    end if;
    accounts_looked := accounts_looked + 1;
    last_account := account.id;
    last_seq := account.last_seq;
    continue when wanted_error is not null and account.dead = 0 and account.skipped = 0 and account.head_error is null;
    first_seq := case when account.id = after_account then after_seq + 1 else 1 end;
    end_seq := account.last_seq;
    if wanted_id is not null then
      select e.seq into end_seq from inturn.events as e where e.account_id = account.id and e.event_id = wanted_id;
      continue when not found;
      first_seq := greatest(first_seq, end_seq);
    end if;
    if received_from is not null then
      -- Dead letters that outlive what is pruned come before what is still kept, and are looked at one by one.
      first_seq := greatest(first_seq, nullif(inturn.first_since(account, received_from, false), account.pruned_seq + 1));
    end if;
    for event in
      select e.seq, e.type, e.received_at, coalesce(e.error, case when e.seq = account.processed_seq + 1 then account.head_error end) as error,
        inturn.event_state(e.outcome, e.seq = account.processed_seq + 1, account.state) as state
      from inturn.events as e
      where e.account_id = account.id and e.seq between first_seq and end_seq
      order by e.seq
      limit looks_max - events_looked
    loop
      exit when event.received_at > received_to;
      events_looked := events_looked + 1;
      if inturn.is_of_type(event.type, wanted_type)
        and (wanted_error is null or position(wanted_error in lower(event.error)) > 0)
        and (wanted_state is null or event.state = wanted_state)
        and (received_from is null or event.received_at >= received_from)
      then
        account_ids := account_ids || account.id;
        seqs := seqs || event.seq;
      end if;
      if events_looked >= looks_max or cardinality(seqs) >= events_max then
        last_seq := event.seq;
        return;
      end if;
    end loop;
  end loop;
  last_account := null;
  last_seq := null;
end
$$;
