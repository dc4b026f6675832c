/**
 * What lanes are drawn from: the accounts that were busy last, and when each of their events was received, handled and settled.
 */
import type { Outcome } from "../domain/account.ts";
import type { Database } from "./pool.ts";

/** An account's lane. Times are milliseconds since 1970, by the database's clock; null for what has not happened. */
export interface Lane {
  readonly accountId: string;
  readonly state: string;
  /** By seq. */
  readonly bars: readonly Bar[];
}

/** `[seq, received, started, settled, attempts, outcome]` */
type Bar = readonly [number, number, number | null, number | null, number, Outcome | null];

/** Bars of one lane: the last ones that were settled, and the first ones that wait. */
const BARS_MAX = { settled: 100, waiting: 20 };

const activeIn = (state: string) => `
    (select a.id, a.state, a.processed_seq, a.state_since, a.head_attempts from inturn.accounts as a
     where a.state = '${state}' ${state === "idle" ? "" : "and a.state <> 'idle'"} order by a.state_since desc limit $1)`;

const LANES = `
  with active as (
    select * from (${["running", "scheduled", "retrying", "blocked", "waiting", "idle"].map(activeIn).join(" union all ")}
    ) as a
    order by case a.state when 'idle' then 1 else 0 end, a.state_since desc limit $1
  )
  select a.id as "accountId", a.state, lane.bars
  from active as a
  cross join lateral (
    select json_agg(json_build_array(e.seq, ${msOf("e.received_at")}, ${msOf("e.begun_at")}, ${msOf("e.processed_at")},
      e.attempts, e.outcome) order by e.seq) as bars
    from (
      -- When the head began is written at its settle: until then it is what its account is in since.
      select e.seq, e.received_at, e.processed_at, e.outcome,
        case when e.seq = a.processed_seq + 1 and a.state in ('running', 'retrying', 'blocked') then greatest(e.received_at, coalesce(
          lag(e.processed_at) over (order by e.seq), a.state_since)) else e.started_at end as begun_at,
        case when e.seq = a.processed_seq + 1 then a.head_attempts else e.attempts end as attempts
      from inturn.events as e
      where e.account_id = a.id and e.seq > a.processed_seq - ${BARS_MAX.settled} and e.seq <= a.processed_seq + ${BARS_MAX.waiting}
        and (e.processed_at is null or e.processed_at >= to_timestamp($2::double precision / 1000))
    ) as e
  ) as lane
  where lane.bars is not null`;

function msOf(column: string): string {
  return `(extract(epoch from ${column}) * 1000)::bigint`;
}

/**
 * The lanes of the accounts that were busy last.
 *
 * @param options.sinceMs leaves out what was settled before
 */
export async function listLanes(
  database: Database,
  options: { lanesMax: number; sinceMs: number },
): Promise<{ nowMs: number; lanes: Lane[] }> {
  const { rows } = await database.query<{ nowMs: number }>(`select ${msOf("clock_timestamp()")} as "nowMs"`);
  const lanes = await database.query<Lane>(LANES, [options.lanesMax, options.sinceMs]);
  return { nowMs: rows[0]?.nowMs ?? 0, lanes: lanes.rows };
}
