/**
 * The one task of graphile-worker: a wake-up of an account. The file's name is the task's name, as `inturn.wake` writes it.
 */
import type { Task } from "graphile-worker";
import * as z from "zod";
import type { Worker } from "../worker.ts";

const payloadSchema = z.object({ accountId: z.string() });

/**
 * Creates the task. It always succeeds: graphile-worker's own retries would know nothing of the account's order, and a
 * wake-up that came to nothing is found by the reconciler.
 */
export default function createTurnTask(worker: Worker): Task {
  return async (payload) => {
    const { accountId } = payloadSchema.parse(payload);
    await worker.takeTurn(accountId);
  };
}
