-- Whatever changes accounts need not think of waking them. Once a statement, not once a row: a settle changes a thousand.
create or replace trigger accounts_wake after update on inturn.accounts
referencing old table as before_change new table as after_change
for each statement execute function inturn.wake_changed();
