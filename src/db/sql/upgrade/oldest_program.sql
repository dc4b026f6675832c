-- The oldest program that may work with these tables, by the newest migration that it has to know, in ms since 1970. Older ones refuse
-- to start.
--
-- A release that adds something leaves it alone: programs of the version before go on while the new ones are rolled out. A release that
-- takes something away raises it to the migration of the first version that does without.
create or replace function inturn.oldest_program() returns bigint
language sql immutable parallel safe
return 1795654223497;
