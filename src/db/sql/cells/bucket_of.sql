-- The bucket of an account, 0 to 255: the first byte of the SHA-256 of its id. The program computes the same (src/engine/bucket.ts), on any
-- version and with any locale.
create or replace function inturn.bucket_of(account_id text) returns smallint
language sql immutable strict parallel safe
return get_byte(pg_catalog.sha256(pg_catalog.convert_to(account_id, 'UTF8')), 0)::smallint;
