import type { Database } from "./pool.ts";

/** A handler that is about to be called. */
export interface Start {
  readonly accountId: string;
  readonly epoch: number;
  readonly seq: number;
}

const RECORD_STARTS = {
  name: "inturn_record_starts",
  text: `
    with held as materialized (
      select i.account_id, a.epoch = i.epoch and a.processed_seq = i.seq - 1 and a.state = 'running' as valid
      from unnest($1::text[], $2::bigint[], $3::bigint[]) as i (account_id, epoch, seq)
      join inturn.accounts as a on a.id = i.account_id
      order by a.id
      for update of a
    )
    update inturn.accounts as a set head_started = true
    from held as h where a.id = h.account_id and h.valid
    returning a.id as "accountId", a.epoch`,
};

/**
 * Records that the handlers of these events are about to be called: if their worker dies, the attempt counts. Whoever lost its
 * lease is not among the answers.
 */
export async function recordStarts(
  database: Database,
  starts: readonly Start[],
): Promise<{ accountId: string; epoch: number }[]> {
  const values = [starts.map((s) => s.accountId), starts.map((s) => s.epoch), starts.map((s) => s.seq)];
  return (await database.query<{ accountId: string; epoch: number }>({ ...RECORD_STARTS, values })).rows;
}
