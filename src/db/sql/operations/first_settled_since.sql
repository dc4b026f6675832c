-- The first event of an account that was settled at this time or later and is still kept; null when there is none. Events are settled in
-- the order of their seqs, so a few look-ups find it among a million.
create or replace function inturn.first_settled_since(account inturn.accounts, since timestamptz) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  low bigint := account.pruned_seq + 1;
  high bigint := account.processed_seq + 1;
  middle bigint := account.processed_seq;
begin
  while low < high loop
    if (select e.processed_at >= since from inturn.events as e where e.account_id = account.id and e.seq = middle) then
      high := middle;
    else
      low := middle + 1;
    end if;
    middle := (low + high) / 2;
  end loop;
  return nullif(low, account.processed_seq + 1);
end
$$;
