-- Locks an account's row for a verb. Every verb does so first.
--
-- The SQLSTATEs of all verbs: IT001 no such account, IT002 an event is being handled, IT003 no event is pending,
-- IT004 not a dead letter, IT005 later events were handled already, IT006 no settled event has this seq,
-- IT007 too many events to replay, IT012 the account rests because of a pause of more than one, IT015 it is being moved to another cell.
create or replace function inturn.lock_account(account_id text) returns inturn.accounts
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  account inturn.accounts;
begin
  select * into account from inturn.accounts as a where a.id = account_id for update;
  if not found then
    raise exception using errcode = 'IT001', message = format('there is no account %L: it never had an event', account_id);
  end if;
  if exists (select from inturn.buckets as b where b.bucket = inturn.bucket_of(account_id) and b.is_here and b.moving_to is not null) then
    raise exception using errcode = 'IT015', message = format('account %L is being moved to another cell', account_id);
  end if;
  return account;
end
$$;
