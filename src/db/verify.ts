import type { Database } from "./pool.ts";

/** What the senders' own numbers say about what was stored. */
export interface TagCheck {
  /** Numbers that are missing below the highest one of their account and run. */
  readonly missing: number;
  /** Numbers stored more than once. */
  readonly repeated: number;
  /** Events whose number is lower than that of the event before. */
  readonly disordered: number;
}

const CHECK_TAGS = `
  with tagged as (
    select account_id, seq, data ->> 'run' as run, (data ->> 'n')::bigint as n,
      -- Where old events are no longer kept, an account begins later, and a dead letter may stand alone before that.
      coalesce(min(seq) filter (where state <> 'dead') over (partition by account_id), 1) as first_seq
    from inturn.event_results
    where type = $1 and data ->> 'n' ~ '^[0-9]{1,15}$'
  ), steps as (
    select t.*, lag(t.n, 1, 0::bigint) over (partition by t.account_id, t.run order by t.seq) as previous_n
    from tagged as t where t.seq >= t.first_seq
  ), runs as (
    select account_id, run, max(n) - count(distinct n) - case when min(first_seq) > 1 then min(n) - 1 else 0 end as missing, count(*) - count(distinct n) as repeated,
      count(*) filter (where n < previous_n) as disordered
    from steps group by account_id, run
  )
  select coalesce(sum(missing), 0)::bigint as missing, coalesce(sum(repeated), 0)::bigint as repeated,
    coalesce(sum(disordered), 0)::bigint as disordered
  from runs`;

/** Compares the numbers that the load generator put into its events, of this type, with the order in which they are stored. */
export async function checkTags(database: Database, type: string): Promise<TagCheck> {
  const { rows } = await database.query<TagCheck>(CHECK_TAGS, [type]);
  return rows[0] ?? { missing: 0, repeated: 0, disordered: 0 };
}

/** Where the stored events have gone. */
export interface EventCounts {
  /** They wait for their turn, or are in hand. */
  readonly pending: number;
  readonly dead: number;
  readonly skipped: number;
  /** Handed to a handler more than once. */
  readonly redelivered: number;
}

const COUNT_EVENTS = `
  select count(*) filter (where state in ('pending', 'processing', 'retrying')) as pending,
    count(*) filter (where state = 'dead') as dead, count(*) filter (where state = 'skipped') as skipped,
    count(*) filter (where state = 'processed' and attempts > 1) as redelivered
  from inturn.event_results`;

/** Counts the stored events by what became of them. */
export async function countEvents(database: Database): Promise<EventCounts> {
  const { rows } = await database.query<EventCounts>(COUNT_EVENTS);
  return rows[0] ?? { pending: 0, dead: 0, skipped: 0, redelivered: 0 };
}
