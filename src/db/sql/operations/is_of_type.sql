-- Whether a type is the wanted one; with `*` at the end of that, whether it begins with it. Without a wanted one every type is.
create or replace function inturn.is_of_type(type text, wanted text) returns boolean
language sql immutable parallel safe
return wanted is null or coalesce(type = wanted or right(wanted, 1) = '*' and starts_with(type, left(wanted, -1)), false);
