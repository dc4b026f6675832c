import { readSettings } from "../../src/config/settings.ts";
import { createDashboard } from "../../src/dashboard/dashboard.ts";
import type { Database } from "../../src/db/pool.ts";
import { APPEND_EVENTS_MAX } from "../../src/domain/event.ts";
import { createAccess } from "../../src/engine/access.ts";
import { AnswerBudget } from "../../src/engine/answers.ts";
import { createAppender } from "../../src/engine/append.ts";
import { PulseWatch } from "../../src/engine/pulse.ts";
import { Waiting } from "../../src/engine/waiting.ts";
import { type AppOptions, createApp } from "../../src/http/app.ts";
import { createLog } from "../../src/log/log.ts";
import { NO_CAPS } from "./append.ts";

/** The limits of a server without settings. */
export const LIMITS = { bodyBytesMax: readSettings({}).bodyBytesMax, batchEventsMax: APPEND_EVENTS_MAX };

/** The API over a database, with default limits, open to everybody, unless told. */
export function createTestApp(database: Database, options: Partial<AppOptions> = {}): ReturnType<typeof createApp> {
  const log = createLog({ level: "silent", name: "test" });
  const answers = new AnswerBudget();
  return createApp({
    appender: createAppender(database, NO_CAPS),
    ingest: database,
    database,
    waiting: new Waiting(database),
    answers,
    log,
    limits: LIMITS,
    access: createAccess({ database, environmentKeys: [] }),
    openTo: "this machine",
    exposeMetrics: async () => "",
    pages: createDashboard({ database, watch: new PulseWatch(database), log, answers, basePath: "" }),
    ...options,
  });
}
