/**
 * For the plain tool: `DATABASE_URL=… npx graphile-worker` from this folder runs a worker, the same as `npm run work`.
 */
import { routeOf } from "./src/config/database-settings.ts";
import { readSettings } from "./src/config/settings.ts";
import { createLog } from "./src/log/log.ts";
import { composeWorker } from "./src/service/compose-worker.ts";
import { createStandalonePreset } from "./src/worker/standalone.ts";

const settings = readSettings(process.env);
const log = createLog({ level: settings.logLevel, name: "work" });
const { databaseUrl, poolerUrl } = routeOf(settings);
if (databaseUrl === undefined) {
  process.stderr.write("inturn: DATABASE_URL is needed: it names the database whose accounts this worker handles\n");
  process.exit(2);
}

export default createStandalonePreset(
  await composeWorker({ settings, databaseUrl, poolerUrl, log }),
) satisfies GraphileConfig.Preset;
