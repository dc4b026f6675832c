/** Measures one peer once, and checks the order of what its handlers saw. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createWorkload } from "../../src/domain/workload.ts";
import { ACCOUNTS, type Measurement, SEED } from "../support.ts";
import { type Peer, WORKERS } from "./peer.ts";
import type { Handled, Task, Told } from "./worker.ts";

const WORKER = new URL("worker.ts", import.meta.url);

/** Nothing takes longer. */
const MS_MAX = 300_000;

/** Runs one peer with so many events, on an empty database. @throws Error when an event is missing, or out of order */
export async function measurePeer(peer: Peer, databaseUrl: string, events: number): Promise<Measurement> {
  const surroundings = { databaseUrl, folder: await mkdtemp(join(tmpdir(), "peers-")) };
  const workload = createWorkload({ events, accounts: ACCOUNTS, seed: SEED }).events;
  const stop = await peer.start(surroundings);
  const workers: Child[] = [];
  const startWorkers = async () => {
    for (let share = 0; share < WORKERS; share += 1)
      workers.push(startWorker({ peer: peer.name, share, surroundings }));
    await Promise.all(workers.map(({ ready }) => ready));
  };
  try {
    if (peer.isEndToEnd) await startWorkers();
    const sentMs = nowMs();
    await peer.send(surroundings, workload);
    if (!peer.isEndToEnd) await startWorkers();
    await untilHandled(workers, events);
    const calls = (await Promise.all(workers.map((worker) => worker.finish()))).flat();
    checkOrder(calls, events);
    const times = calls.map(([, , ms]) => ms);
    const fromMs = peer.isEndToEnd ? sentMs : times.reduce((least, ms) => Math.min(least, ms));
    return { events, seconds: (times.reduce((most, ms) => Math.max(most, ms)) - fromMs) / 1_000 };
  } finally {
    for (const { child } of workers) child.kill("SIGKILL");
    await stop();
    await rm(surroundings.folder, { recursive: true, force: true });
  }
}

const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

interface Child {
  readonly child: ChildProcess;
  readonly ready: Promise<unknown>;
  /** So far. */
  count(): number;
  /** Stops it. Resolves with everything that it has handled. */
  finish(): Promise<readonly Handled[]>;
}

function startWorker(task: Task): Child {
  const child = fork(WORKER, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const ready = Promise.withResolvers<void>();
  const handled = Promise.withResolvers<readonly Handled[]>();
  let count = 0;
  child.on("message", (message) => {
    const told = message as Told;
    if (told.kind === "ready") ready.resolve();
    else if (told.kind === "count") count = told.events;
    else handled.resolve(told.calls);
  });
  child.once("exit", (code) => {
    const error = new Error(`a worker process of ${task.peer} ended with ${code}`);
    ready.reject(error);
    handled.reject(error);
  });
  handled.promise.catch(() => undefined);
  child.send(task);
  const finish = async () => {
    const exited = once(child, "exit");
    child.send("finish");
    const calls = await handled.promise;
    await exited;
    return calls;
  };
  return { child, ready: ready.promise, count: () => count, finish };
}

async function untilHandled(workers: readonly Child[], events: number): Promise<void> {
  const deadlineMs = nowMs() + MS_MAX;
  while (workers.reduce((sum, worker) => sum + worker.count(), 0) < events) {
    if (nowMs() > deadlineMs) throw new Error(`not all of ${events} events were handled in ${MS_MAX / 1_000} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Every account's numbers are 1, 2, 3, … in the order of the calls, over all processes. */
function checkOrder(calls: readonly Handled[], events: number): void {
  const last = new Map<string, number>();
  for (const [accountId, n] of calls.toSorted(([, , a], [, , b]) => a - b)) {
    const before = last.get(accountId) ?? 0;
    if (n !== before + 1) throw new Error(`${accountId} was handed event ${n} after event ${before}`);
    last.set(accountId, n);
  }
  if (calls.length !== events) throw new Error(`${calls.length} events were handled, not ${events}`);
}
