import type { DatabaseAddress } from "../db/session-settings.ts";
import type { RetryRule } from "../domain/failure.ts";
import type { TargetRule } from "../domain/target.ts";
import type { Handler } from "../engine/handler.ts";
import type { BatchOptions } from "../engine/handler-batch.ts";
import type { Log } from "../log/log.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";

/** What a worker is made of. */
export interface WorkerOptions {
  /** PostgreSQL itself. */
  readonly databaseUrl: DatabaseAddress;
  /** A pooler in front of it, for what needs no session of its own. */
  readonly poolerUrl?: DatabaseAddress | undefined;
  /** Connections of this worker at most. */
  readonly workerConnectionsMax: number;
  readonly handler: Handler;
  /** Where the handler wants several events together. */
  readonly batch: BatchOptions | undefined;
  /** What the log calls it. */
  readonly handlerName: string;
  /** How events of this type are retried. */
  readonly ruleOf: (type: string | null) => RetryRule;
  /** When failures open a target. */
  readonly targetRuleOf: (target: string) => TargetRule;
  readonly log: Log;
  /** Accounts in hand at once. */
  readonly concurrency: number;
  /** Of events in memory, beyond one large event. */
  readonly readAheadBytesMax: number;
  readonly leaseMs: number;
  /** How long a stop waits for the events in hand. */
  readonly shutdownMs: number;
  /** How long settled events are kept; 0 keeps them for ever. */
  readonly keepDays: number;
  readonly metrics: WorkerMetrics;
  /** Whether the process is killed when its event loop is stuck. */
  readonly ownsProcess: boolean;
}
