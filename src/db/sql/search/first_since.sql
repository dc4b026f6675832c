-- The first event of an account, of those that are still kept, that arrived at this time or later, or, with `is_settled`, that was
-- settled then or later; the seq behind the last one when there is none. Events arrive and are settled in the order of their seqs, so a few
-- look-ups find it among a million.
create or replace function inturn.first_since(account inturn.accounts, since timestamptz, is_settled boolean) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  low bigint := account.pruned_seq + 1;
  middle bigint := case when is_settled then account.processed_seq else account.last_seq end;
  high bigint := middle + 1;
begin
  while low < high loop
    if (
      select case when is_settled then e.processed_at else e.received_at end >= since
      from inturn.events as e where e.account_id = account.id and e.seq = middle
    ) then
      high := middle;
    else
      low := middle + 1;
    end if;
    middle := (low + high) / 2;
  end loop;
  return low;
end
$$;
