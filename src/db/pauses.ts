/**
 * Pauses of more than one account: how workers hear of them (`sql/pauses/`), how they begin and end, and how people see them.
 */
import type pg from "pg";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import type { Covered, Pause } from "../domain/pause.ts";
import { callOperator } from "./operate.ts";
import type { Database, Queryable } from "./pool.ts";

/** The pauses at a moment, and the version of their list. */
export interface PauseList {
  readonly version: number;
  readonly pauses: readonly Pause[];
}

/** Reads the list. */
export async function readPauses(database: Queryable): Promise<PauseList> {
  const { rows } = await database.query<PauseList>({
    name: "inturn_read_pauses",
    text: `
      select coalesce((select l.version from inturn.pause_list as l), 0)::integer as version, coalesce((
        select json_agg(json_build_object('id', p.id, 'covers', p.covers, 'value', p.value, 'rate', p.rate, 'until', p.until) order by p.id)
        from inturn.pauses as p), '[]') as pauses`,
    query_timeout: LEASE_TIMES.silentMs,
  } as pg.QueryConfig);
  return rows[0] ?? { version: 0, pauses: [] };
}

/** Ends pauses whose time is over, and lets accounts go on whose pause ends little by little or is no more. How many those were. */
export async function tendPauses(database: Queryable): Promise<number> {
  const text = "select inturn.tend_pauses() as released";
  const { rows } = await database.query<{ released: number }>({ name: "inturn_tend_pauses", text });
  return rows[0]?.released ?? 0;
}

/** A pause to be begun. */
export interface NewPause extends Covered {
  /** When it ends by itself: a time with its zone. */
  readonly until?: string | undefined;
  readonly who: string;
  readonly why?: string | undefined;
}

/**
 * Begins a pause and records it. No event that it covers starts on a worker that has heard of this version of the list.
 *
 * @throws InturnError `operation_invalid`; then nothing was changed
 */
export async function insertPause(database: Database, pause: NewPause): Promise<{ id: number; version: number }> {
  const { covers, value, until = null, who, why = null } = pause;
  const text = "select id, version from inturn.begin_pause($1, $2, $3::timestamptz, $4, $5)";
  const begun = await callOperator<{ id: number; version: number }>(database, text, [covers, value, until, why, who]);
  return begun ?? { id: 0, version: 0 };
}

/** A pause to be ended. */
export interface PauseEnd extends Covered {
  /** Events a second that start until no account rests any more; without it all may start at once. */
  readonly rate?: number | undefined;
  readonly who: string;
  readonly why?: string | undefined;
}

/**
 * Ends a pause and records it. How many accounts rest because of it.
 *
 * @throws InturnError `pause_not_found`, `operation_invalid`; then nothing was changed
 */
export async function endPause(database: Database, end: PauseEnd): Promise<{ id: number; accounts: number }> {
  const { covers, value, rate = null, who, why = null } = end;
  const text = "select id, accounts from inturn.end_pause($1, $2, $3, $4, $5)";
  const ended = await callOperator<{ id: number; accounts: number }>(database, text, [covers, value, rate, why, who]);
  return ended ?? { id: 0, accounts: 0 };
}

/** A worker that may still go by an older list. */
export interface UnconfirmedWorker {
  readonly workerId: string;
  readonly host: string;
  readonly pid: number;
}

/**
 * The workers that may start an event without having heard of this version of the list. One that knows of lists and has not renewed
 * its lease for as long as it trusts it starts nothing before it has; one of an earlier version knows of none.
 */
export async function listUnconfirmed(database: Queryable, version: number): Promise<UnconfirmedWorker[]> {
  const { rows } = await database.query<UnconfirmedWorker>(
    `select w.id as "workerId", w.host, w.pid from inturn.workers as w
     where w.lease_expires_at > clock_timestamp() and coalesce(w.pauses_version, -1) < $1
       and (w.pauses_version is null or w.renewed_at > clock_timestamp() - $2 * interval '1 millisecond')
     order by w.started_at, w.id limit 100`,
    [version, LEASE_TIMES.trustedMs],
  );
  return rows;
}

/** How many events are in hand that a pause covers and that were started before this moment (microseconds of the database's clock). */
export async function countInHand(database: Queryable, pauseId: number, beforeUs: number): Promise<number> {
  const { rows } = await database.query<{ count: number }>(
    `select count(*)::integer as count
     from inturn.pauses as p
     join inturn.accounts as a on a.state = 'running' and a.state <> 'idle' and extract(epoch from a.state_since) * 1000000 < $2
     left join inturn.events as e on e.account_id = a.id and e.seq = a.processed_seq + 1
     where p.id = $1 and inturn.is_covered(p, a.id, e.type)`,
    [pauseId, beforeUs],
  );
  return rows[0]?.count ?? 0;
}

/** The database's clock, in microseconds. */
export async function readClock(database: Queryable): Promise<number> {
  const text = 'select (extract(epoch from clock_timestamp()) * 1000000)::bigint as "nowUs"';
  const { rows } = await database.query<{ nowUs: number }>(text);
  return rows[0]?.nowUs ?? 0;
}

/** A pause, as people see it. Times are PostgreSQL's text, in the session's zone. */
export interface PauseStatus extends Pause {
  readonly since: string;
  readonly pausedSeconds: number;
  readonly who: string;
  readonly why: string | null;
  /** How many accounts rest because of it, and their pending events. */
  readonly accounts: number;
  readonly events: number;
}

/** The pauses that stand, the oldest first. */
export async function listPauses(database: Queryable): Promise<PauseStatus[]> {
  const { rows } = await database.query<PauseStatus>(
    `select p.id, p.covers, p.value, p.since::text as since, p.until::text as until, p.who, p.why, p.rate, p.accounts, p.events,
       extract(epoch from clock_timestamp() - p.since)::double precision as "pausedSeconds"
     from inturn.pause_status as p order by p.id`,
  );
  return rows;
}
