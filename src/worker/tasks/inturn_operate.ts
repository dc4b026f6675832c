/**
 * The task that carries an operation on many accounts on, part by part. The file's name is the task's name, as
 * `inturn.wake_operation` writes it.
 */
import type { Task } from "graphile-worker";
import * as z from "zod";
import type { Worker } from "../worker.ts";

const payloadSchema = z.object({ operationId: z.int() });

/** Creates the task. Each part is one transaction, and adds the job of the next one: one that fails is tried again. */
export default function createOperateTask(worker: Worker): Task {
  return async (payload) => {
    const { operationId } = payloadSchema.parse(payload);
    await worker.carryOn(operationId);
  };
}
