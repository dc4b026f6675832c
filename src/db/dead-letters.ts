import type { Database } from "./pool.ts";

/** An event that was set aside. Times are PostgreSQL's text, in the session's zone. */
export interface DeadLetter {
  readonly accountId: string;
  readonly seq: number;
  readonly eventId: string | null;
  readonly type: string | null;
  readonly setAsideAt: string;
  readonly attempts: number;
  readonly error: string | null;
}

/** Of one account a page shows this many. */
export const DEAD_LETTERS_OF_ACCOUNT_MAX = 20;

/** The dead letters of a page of accounts, by account and seq. */
export async function listDeadLetters(
  database: Database,
  page: { afterAccountId: string; accountsMax: number },
): Promise<DeadLetter[]> {
  const { rows } = await database.query<DeadLetter>(
    `with page as materialized (
       select a.id from inturn.accounts as a where a.dead > 0 and a.id > $1 order by a.id limit $2
     )
     select p.id as "accountId", d.seq, d.event_id as "eventId", d.type, d.processed_at::text as "setAsideAt", d.attempts, d.error
     from page as p
     cross join lateral (
       select * from inturn.events as e where e.account_id = p.id and e.outcome = 'dead'
       order by e.seq limit ${DEAD_LETTERS_OF_ACCOUNT_MAX}
     ) as d
     order by p.id, d.seq`,
    [page.afterAccountId, page.accountsMax],
  );
  return rows;
}
