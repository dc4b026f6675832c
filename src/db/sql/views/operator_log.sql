-- Every verb that was carried out: who, when, why.
create or replace view inturn.operator_log as
select o.id, o.at, o.verb, o.account_id, o.seq, o.who, o.why, o.target, o.operation_id, o.covers from inturn.operations as o;
