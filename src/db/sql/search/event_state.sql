-- What the views call the state of an event.
create or replace function inturn.event_state(outcome text, is_head boolean, account_state text) returns text
language sql immutable parallel safe
return case
  when outcome is not null then outcome
  when is_head and account_state = 'running' then 'processing'
  when is_head and account_state = 'retrying' then 'retrying'
  else 'pending'
end;
