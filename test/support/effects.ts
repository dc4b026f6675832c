import type { TestDatabase } from "./database.ts";

/** What the recording handler saw. */
export interface Effect {
  readonly accountId: string;
  readonly seq: number;
  readonly epoch: number;
  readonly attempt: number;
  readonly pid: number;
  readonly ended: boolean;
}

/** The path of the recording handler's module. */
export const RECORDING_HANDLER: string = new URL("recording-handler.ts", import.meta.url).pathname;

/** Makes the table that the recording handler writes to. */
export async function createEffects(test: TestDatabase): Promise<void> {
  await test.query(`create table effects (
    id bigserial, account_id text, seq bigint, epoch bigint, attempt integer, pid integer,
    started_at timestamptz, ended_at timestamptz)`);
  // Not unique: it finds a row, and refuses none. Without it each end of a call would read all calls.
  await test.query("create index on effects (id)");
}

/** Every call of the handler, in the order of its start. */
export async function readEffects(test: TestDatabase): Promise<Effect[]> {
  return await test.query<Effect>(
    `select account_id as "accountId", seq, epoch, attempt, pid, ended_at is not null as ended from effects order by id`,
  );
}

/** Pairs of calls for one account that overlapped in time. */
export async function countOverlaps(test: TestDatabase): Promise<number> {
  const rows = await test.query<{ overlaps: number }>(
    `select count(*) as overlaps from effects a join effects b
     on a.account_id = b.account_id and a.id < b.id and b.started_at < a.ended_at`,
  );
  return rows[0]?.overlaps ?? 0;
}

/** The seqs of each account, in the order in which its handler calls ended. */
export function seqsByAccount(effects: readonly Effect[]): Record<string, number[]> {
  const seqs: Record<string, number[]> = {};
  for (const effect of effects) if (effect.ended) (seqs[effect.accountId] ??= []).push(effect.seq);
  return seqs;
}

/** 1, 2, …, n. */
export function oneTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1);
}
