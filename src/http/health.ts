import { z } from "@hono/zod-openapi";
import type { Database } from "../db/pool.ts";
import { readReadiness } from "../db/progress.ts";
import { InturnError } from "../errors/error.ts";
import type { Route } from "./route.ts";

const statusSchema = z.object({ status: z.string() }).openapi("Status");

const ok = { description: "Yes.", content: { "application/json": { schema: statusSchema } } };

const specOf = (path: string, operationId: string, summary: string) => ({
  method: "get" as const,
  path,
  operationId,
  summary,
  tags: ["Health"],
  responses: { 200: ok },
});

/** `GET /livez` and `GET /readyz`, for whoever looks after the process. */
export function createHealthRoutes(database: Database): Route[] {
  return [
    createLivenessRoute(),
    {
      spec: specOf("/readyz", "getReadiness", "Whether events can be stored"),
      codes: ["database_unavailable", "database_not_migrated"],
      access: "open",
      handle: async (c) => {
        await requireReady(database);
        return c.json({ status: "ready" });
      },
    },
  ];
}

/** For each cell `ready`, or the code of the error that says why it is not. */
export type CellReadiness = Readonly<Record<string, string>>;

/** `GET /readyz` in front of several cells: events of those that are ready can be stored. @param readiness asks all of them */
export function createFrontReadinessRoute(readiness: () => Promise<CellReadiness>): Route {
  return {
    spec: specOf("/readyz", "getReadiness", "Whether events of any cell can be stored"),
    codes: ["database_unavailable"],
    access: "open",
    handle: async (c) => {
      const cells = await readiness();
      if (Object.values(cells).includes("ready")) return c.json({ status: "ready", cells });
      const why = Object.entries(cells).map(([cell, code]) => `${cell}: ${code}`);
      throw new InturnError("database_unavailable", `No cell can store events now: ${why.join(", ")}.`);
    },
  };
}

/** Asks a database whether events can be stored in it. @throws InturnError `database_unavailable`, `database_not_migrated` */
export async function requireReady(database: Database): Promise<void> {
  const { isWritable, isMigrated } = await readReadiness(database);
  if (!isWritable) {
    throw new InturnError("database_unavailable", "The database answers, but it is read-only: a standby, or set so.");
  }
  if (isMigrated) return;
  throw new InturnError("database_not_migrated", "The database answers, but lacks our tables; it must be migrated.");
}

/** `GET /livez`. */
export function createLivenessRoute(): Route {
  return {
    spec: specOf("/livez", "getLiveness", "Whether the process answers"),
    codes: [],
    access: "open",
    handle: (c) => c.json({ status: "ok" }),
  };
}

/** `GET /readyz` of a worker. @param canWork whether it can do its work */
export function createWorkerReadinessRoute(canWork: () => boolean): Route {
  return {
    spec: specOf("/readyz", "getReadiness", "Whether the worker can do its work"),
    codes: ["worker_not_ready"],
    access: "open",
    handle: (c) => {
      if (canWork()) return c.json({ status: "ready" });
      throw new InturnError(
        "worker_not_ready",
        "The worker has no good lease, it is stopping, or accounts are due and no turn begins; its log says which.",
      );
    },
  };
}
