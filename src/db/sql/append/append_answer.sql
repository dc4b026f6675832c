-- What became of one event: its seq, or, when its request was refused, no seq; the event that was refused says why.
--
-- PostgreSQL has no "create or replace type": a release that changes it drops it first, with the functions that return it.
do $$
begin
  if to_regtype('inturn.append_answer') is null then
    create type inturn.append_answer as (account_id text, seq bigint, duplicate boolean, refusal text, current_seq bigint);
  end if;
end
$$;
