-- Returns the id of a new account, or refuses it. "." and ".." cannot be a part of a URL's path, and control characters do not
-- look like what they are. Old accounts are not checked again: every append would pay for it.
create or replace function inturn.check_account_id(id text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if id in ('.', '..') or char_length(id) not between 1 and 250 or id ~ '[\u0001-\u001f\u007f-\u009f]' then
    raise invalid_parameter_value using
      message = format('%L cannot be the id of an account', left(id, 60)),
      hint = 'An id has 1 to 250 characters, no control characters, and is not "." or "..".';
  end if;
  return id;
end
$$;
