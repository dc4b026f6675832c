import type { RetryRule } from "../domain/failure.ts";
import type { Log } from "../log/log.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";
import type { Balance } from "./balance.ts";
import type { Handler } from "./handler.ts";
import type { BatchOptions } from "./handler-batch.ts";
import type { Ledger } from "./ledger.ts";
import type { PauseWatch } from "./pause-watch.ts";
import type { TargetWatch } from "./target-watch.ts";
import type { Transactions } from "./transactions.ts";

/** What every turn of a worker shares. */
export interface TurnOptions {
  readonly ledger: Ledger;
  readonly transactions: Transactions;
  readonly targets: TargetWatch;
  readonly pauses: Pick<PauseWatch, "covering">;
  readonly handler: Handler;
  /** Where the handler wants several events together. */
  readonly batch?: BatchOptions | undefined;
  /** How events of this type are retried. */
  readonly ruleOf: (type: string | null) => RetryRule;
  readonly log: Log;
  readonly metrics?: WorkerMetrics;
  /** Whether accounts wait for a slot of this worker. */
  readonly isCrowded: () => boolean;
  /** Whether this worker gives accounts to others. */
  readonly balance?: Balance;
  /** Resolves when the worker's lease is known to be good; undefined when it is. No handler starts before. */
  readonly confirmed: () => Promise<void> | undefined;
  /** Aborts when the worker begins to stop: turns end after the event that is being handled. */
  readonly stopping: AbortSignal;
  /** Aborts when handlers must end: the worker may have lost its lease, or its time to stop is over. */
  readonly interrupted: AbortSignal;
  /** Aborts when handlers are waited for no longer. */
  readonly abandoned: AbortSignal;
}
