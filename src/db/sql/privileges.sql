-- Privileges are closed by default: whatever this schema has, now or in a later version, PUBLIC may not use, except the three
-- functions that append, and the one that tells programs whether they are too old. Using the schema itself must be granted to a role, with everything else that the role needs.
--
-- Functions run with the rights of the schema's owner and look up what they do not name in full in pg_catalog first. An empty
-- search path would not do: then the caller's temporary schema comes first, and a type of theirs could run code with those rights.
revoke all on schema inturn from public;
revoke all on all tables in schema inturn from public;
revoke all on all sequences in schema inturn from public;
revoke all on all routines in schema inturn from public;
grant execute on function inturn.oldest_program() to public;
grant execute on function inturn.append_event(text, json, text, text) to public;
grant execute on function inturn.append_json(json) to public;
grant execute on function inturn.append_events(text[], json[], text[], text[], timestamptz[]) to public;
