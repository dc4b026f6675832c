/**
 * A process with a graphile-worker of its own: `node graphile-worker-process.ts '<its worker options as JSON>'`. A job of
 * its task (`TASK`, default probe) tells that it started; `{hold: true}` holds it until the process is told to stop and
 * has let go of its listening connection, `{fail: true}` lets it fail then. What happens is told on stdout, a line each.
 */
import { EventEmitter } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import { run, type WorkerEvents, WorkerPreset } from "graphile-worker";
import { SILENT } from "./graphile-worker.ts";

/** What its jobs' payloads may say. */
export interface ProcessPayload {
  readonly hold?: boolean;
  readonly fail?: boolean;
}

const tell = (line: string) => process.stdout.write(`${line}\n`);
const events: WorkerEvents = new EventEmitter();
const { promise: deaf, resolve: beDeaf } = Promise.withResolvers<unknown>();
events.on("pool:create", ({ workerPool }) => tell(`pool ${workerPool.id}`));
events.on("worker:create", ({ worker }) => tell(`worker ${worker.workerId}`));
events.on("pool:fatalError", ({ action }) => tell(`fatal ${action}`));
const { promise: listening, resolve: beListening } = Promise.withResolvers<void>();
events.on("pool:listen:success", () => beListening());
events.on("pool:listen:release", ({ client }) => {
  // It is about to send UNLISTEN, and its end waits for that one: this one is answered after it.
  queueMicrotask(() => void client.query("select").then(beDeaf, beDeaf));
});

const runner = await run({
  preset: {
    extends: [WorkerPreset],
    worker: {
      connectionString: process.env["DATABASE_URL"] ?? "",
      ...(JSON.parse(process.argv[2] ?? "{}") as GraphileConfig.WorkerOptions),
      events,
      logger: SILENT,
    },
  },
  parsedCronItems: [],
  taskList: {
    [process.env["TASK"] ?? "probe"]: async (payload) => {
      const { hold, fail } = payload as ProcessPayload;
      await listening;
      tell("started");
      if (hold === true) {
        await deaf;
        await nextTurn();
      }
      if (fail === true) throw new Error("as told");
      tell("succeeds");
    },
  },
});
await runner.promise.then(
  () => tell("resolved"),
  () => tell("rejected"),
);
