-- How the tables are stored.

-- Accounts are updated about once an event: room in the page keeps those updates HOT, so that indexes are not written.
alter table inturn.accounts set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- An event is updated once, when it is settled.
alter table inturn.events set (fillfactor = 80);
