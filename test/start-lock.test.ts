/**
 * The lock under which the embedded server is started and stopped: one process at a time holds it, whoever is killed when.
 */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { withLock } from "../src/embedded/start-lock.ts";
import { startProcess, type TestProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const SCRIPT = new URL("support/lock-race.ts", import.meta.url).pathname;

const RACE = { processes: 4, kills: 60 };

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "inturn-lock-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("callers of one process have it one after the other, and an error lets it go", async () => {
  await withFolder(async (folder) => {
    const lock = join(folder, "new", "lock");
    let inside = 0;
    const work = async () => {
      inside += 1;
      await new Promise((resolve) => setImmediate(resolve));
      assert.equal(inside, 1);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 5 }, () => withLock(lock, work)));
    await assert.rejects(
      withLock(lock, () => Promise.reject(new Error("no"))),
      /no/,
    );
    await withLock(lock, work);
    assert.deepEqual(await readdir(join(folder, "new")), ["lock"], "nothing else is left");
    assert.deepEqual(await readdir(lock), ["free"]);
  });
});

test("processes that are killed while they have it leave it to exactly one of the others", async () => {
  await withFolder(async (folder) => {
    await mkdir(join(folder, "inside"));
    let taken = 0;
    let kills = 0;
    const others: number[] = [];
    const racers = new Set<TestProcess>();
    const start = () => {
      const racer = startProcess([folder], {}, { script: SCRIPT });
      racers.add(racer);
      racer.child.on("message", (message: { others: number[] }) => {
        others.push(...message.others);
        taken += 1;
        // Whoever tells that it has the lock is killed now and then, some while it has it and some just after.
        if (taken % 20 !== 0 || kills === RACE.kills) return;
        kills += 1;
        racer.child.kill("SIGKILL");
      });
      void racer.ended.then(() => {
        racers.delete(racer);
        if (kills < RACE.kills) start();
      });
      return racer;
    };
    await Promise.all(Array.from({ length: RACE.processes }, async () => await start().ready));
    await until("all kills are done, and the lock goes on from one to the other", () => kills === RACE.kills);
    const last = taken;
    await until("it is taken after the last kill", () => racers.size === 0 || taken > last + 20);
    const errors = [...racers].map((racer) => racer.output.stderr);
    for (const racer of racers) racer.child.kill("SIGKILL");
    await Promise.all([...racers].map((racer) => racer.ended));
    assert.deepEqual(others, [], "nobody was inside beside another");
    assert.deepEqual(new Set(errors), new Set([""]));
  });
});
