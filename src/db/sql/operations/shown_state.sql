-- What the views call the state of an account.
create or replace function inturn.shown_state(state text, paused_at timestamptz) returns text
language sql immutable parallel safe
return case when paused_at is not null and state <> 'running' then 'paused' else state end;
