-- The one rule of who may be woken: an account that waits for a turn. When, is its next_attempt_at; without one, at once. Every
-- statement that changes accounts wakes those that wait afterwards. PostgreSQL puts this expression into the statement itself.
create or replace function inturn.waits(state text, paused_at timestamptz) returns boolean
language sql immutable parallel safe
return state in ('scheduled', 'retrying') and paused_at is null;
