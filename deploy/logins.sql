-- The roles of docker-compose.yml, made together with the database. After each migration `roles --apply` grants them what they need.
-- The passwords are for this machine only: the port of PostgreSQL is not published.
create role inturn_ingest nologin;
create role inturn_work nologin;
create role inturn_read nologin;
create role inturn_operate nologin;
create role inturn_api login password 'inturn' in role inturn_ingest, inturn_read, inturn_operate;
create role inturn_worker login password 'inturn' in role inturn_work;
