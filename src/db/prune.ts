import type { Database } from "./pool.ts";

/** What one step of pruning did. */
export interface Pruned {
  /** Events that are no longer kept. */
  readonly events: number;
  /** The last account that was looked at; null when there are no more. */
  readonly lastAccountId: string | null;
}

/** Accounts that one step looks at. */
const ACCOUNTS_MAX = 1_000;

/** Events of one account that one step deletes: it holds the account's row until it commits. */
const EVENTS_PER_ACCOUNT_MAX = 200;

/**
 * Of each account the events that were settled long ago go, from the first on: `processed_at` rises with the seq, so they stand
 * together. Dead letters stay: they wait for a decision, and time makes none.
 */
const PRUNE = `
  with visited as materialized (
    select a.id, a.pruned_seq, a.processed_seq from inturn.accounts as a
    where a.id > $1
    order by a.id limit ${ACCOUNTS_MAX}
  ), old as materialized (
    select v.id, last.seq
    from visited as v
    cross join lateral (
      select e.processed_at from inturn.events as e
      where e.account_id = v.id and e.seq = v.pruned_seq + 1 and v.pruned_seq < v.processed_seq
    ) as first
    cross join lateral (
      select max(next.seq) as seq from (
        select e.seq, e.processed_at from inturn.events as e
        where e.account_id = v.id and e.seq > v.pruned_seq and e.seq <= v.processed_seq
        order by e.seq limit ${EVENTS_PER_ACCOUNT_MAX}
      ) as next where next.processed_at < clock_timestamp() - $2 * interval '1 day'
    ) as last
    where first.processed_at < clock_timestamp() - $2 * interval '1 day'
  ), held as materialized (
    select a.id, a.pruned_seq, o.seq from inturn.accounts as a join old as o on o.id = a.id
    where a.pruned_seq < o.seq and o.seq <= a.processed_seq
    order by a.id
    for update of a skip locked
  ), moved as (
    update inturn.accounts as a set pruned_seq = h.seq from held as h where a.id = h.id
  ), deleted as (
    delete from inturn.events as e using held as h
    where e.account_id = h.id and e.seq > h.pruned_seq and e.seq <= h.seq and e.outcome <> 'dead'
    returning e.account_id, e.seq
  ), forgotten as (
    delete from inturn.attempts as t using deleted as d where t.account_id = d.account_id and t.seq = d.seq
  )
  select (select count(*)::integer from deleted) as events,
    (select case when count(*) = ${ACCOUNTS_MAX} then max(v.id) end from visited as v) as "lastAccountId"`;

/**
 * Deletes events that were settled more than this many days ago, of the accounts that come after this one in id order, and says
 * where to go on. An account may have more left than one step deletes.
 */
export async function pruneStep(
  database: Database,
  options: { afterAccountId: string; keepDays: number },
): Promise<Pruned> {
  const { rows } = await database.query<Pruned>(PRUNE, [options.afterAccountId, options.keepDays]);
  return rows[0] ?? { events: 0, lastAccountId: null };
}
