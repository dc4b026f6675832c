-- The first event of an account that is still kept and arrived at this time or later; beyond its last one when there is none. Events
-- arrive in the order of their seqs, so a few look-ups find it among a million. Dead letters that outlive what is pruned come first.
create or replace function inturn.first_received_since(account inturn.accounts, since timestamptz) returns bigint
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  low bigint := account.pruned_seq + 1;
  high bigint := account.last_seq + 1;
  middle bigint := account.last_seq;
begin
  while low < high loop
    if (select e.received_at >= since from inturn.events as e where e.account_id = account.id and e.seq = middle) then
      high := middle;
    else
      low := middle + 1;
    end if;
    middle := (low + high) / 2;
  end loop;
  return case when low = account.pruned_seq + 1 then 1 else low end;
end
$$;
