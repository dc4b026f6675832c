/**
 * A worker for tests that call the engine by themselves: turns without graphile-worker around them.
 */
import { randomUUID } from "node:crypto";
import type { Settlement } from "../../src/db/settle-statement.ts";
import { type DueLook, type DueMark, FIRST_DUE, wakeLost } from "../../src/db/wake-ups.ts";
import { renewWorkerLease } from "../../src/db/workers.ts";
import type { RetryRule } from "../../src/domain/failure.ts";
import { TARGET_RULE } from "../../src/domain/target.ts";
import { createLedger, type Ledger } from "../../src/engine/ledger.ts";
import { PauseWatch } from "../../src/engine/pause-watch.ts";
import { ReadAhead } from "../../src/engine/read-ahead.ts";
import { TargetWatch } from "../../src/engine/target-watch.ts";
import { createTransactions } from "../../src/engine/transactions.ts";
import type { TurnOptions } from "../../src/engine/turn-options.ts";
import { createLog } from "../../src/log/log.ts";
import { appendEvents, newEvent } from "./append.ts";
import type { TestDatabase } from "./database.ts";

const log = createLog({ level: "silent", name: "test" });

/** Retries at once, as good as for ever. */
export const rule: RetryRule = {
  attemptsMax: 1_000,
  backoffMs: 1,
  backoffMsMax: 1,
  handlerTimeoutMs: 60_000,
  failurePolicy: "block",
  parkMs: 60_000,
  snoozeMsMax: 86_400_000,
  unsettledMax: 1,
  target: "default",
};

/** What a settle says of an event that went well. */
export function wellDone(event: { accountId: string; epoch: number; seq: number }, attempts = 1): Settlement {
  const { accountId, epoch, seq } = event;
  const call = { fromSeq: seq, seq, attempts, startedUs: 0, durationMs: 1, unsettledBefore: 0 };
  const rest = { outcome: "processed", error: null, yields: false, keepsLease: false } as const;
  return { accountId, epoch, seq, calls: [call], ...rest };
}

/** Retries that nobody lives to see. */
export const slowly = (): RetryRule => ({ ...rule, backoffMs: 60_000, backoffMsMax: 60_000 });

/** A worker without graphile-worker around it. */
export async function createTestWorker(
  db: TestDatabase,
  onSettled: (accountId: string, seq: number) => void = () => undefined,
) {
  const id = randomUUID();
  const identity = {
    id,
    host: "test",
    pid: 1,
    concurrency: 10,
    lifeKey: null,
    graphilePool: null,
    pausesVersion: 0,
    inHand: 0,
  };
  // A test on a busy machine may take minutes.
  const renew = () => renewWorkerLease(db.database, identity, 600_000);
  await renew();
  const basis = { database: db.database, hopeless: AbortSignal.abort() };
  const readAhead = new ReadAhead({ ...basis, bytesMax: 67_108_864, concurrency: 10, togetherMax: 100, log });
  const plain = createLedger({ ...basis, workerId: id, readAhead });
  const ledger: Ledger = {
    ...plain,
    async settle(settlement) {
      const settled = await plain.settle(settlement);
      const { accountId, seq, calls } = settlement;
      if (settled !== undefined) for (let n = calls[0].fromSeq; n <= seq; n += 1) onSettled(accountId, n);
      return settled;
    },
  };
  const pauses = new PauseWatch(db.database);
  const options: TurnOptions = {
    ledger,
    targets: new TargetWatch({ ...basis, workerId: id, ruleOf: () => TARGET_RULE, log }),
    pauses,
    transactions: createTransactions(db.database, { idleMsMax: 10_000, log }),
    handler: () => undefined,
    ruleOf: () => rule,
    log,
    isCrowded: () => false,
    confirmed: () => undefined,
    stopping: new AbortController().signal,
    interrupted: new AbortController().signal,
    abandoned: new AbortController().signal,
  };
  return { id, renew, options, pauses };
}

/** Appends one event to each of these accounts. */
export async function appendTo(db: TestDatabase, ...accountIds: string[]): Promise<void> {
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, data: "{}" })),
  );
}

/** Lets a worker's lease run out. */
export async function expireLease(db: TestDatabase, workerId: string): Promise<void> {
  await db.query("update inturn.workers set lease_expires_at = clock_timestamp() - interval '1 second' where id = $1", [
    workerId,
  ]);
}

/** Looks at all accounts that are due, and says how many were woken. */
export async function countWoken(db: TestDatabase): Promise<number> {
  let woken = 0;
  for (let after: DueMark | null = FIRST_DUE; after !== null; ) {
    const look: DueLook | undefined = await wakeLost(db.database, after);
    woken += look?.woken ?? 0;
    after = look?.isFull === true ? look.last : null;
  }
  return woken;
}

/** What the account's row says. */
export async function accountRow(db: TestDatabase, accountId: string): Promise<Record<string, unknown> | undefined> {
  const rows = await db.query(
    `select state, last_seq, processed_seq, epoch, head_attempts, lease_worker is not null as leased
     from inturn.accounts where id = $1`,
    [accountId],
  );
  return rows[0];
}
