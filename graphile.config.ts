/**
 * For the plain tool: `DATABASE_URL=… npx graphile-worker` from this folder runs a worker, the same as `npm run work`.
 */
import { readSettings } from "./src/config/settings.ts";
import { createLog } from "./src/log/log.ts";
import { composeWorker } from "./src/service/work.ts";

const settings = readSettings(process.env);
const log = createLog({ level: settings.logLevel, name: "work" });
const databaseUrl = settings.databaseUrl ?? "";
const { worker, preset } = await composeWorker({ settings, databaseUrl, log }, (error) => void endProcess(error));

export default preset satisfies GraphileConfig.Preset;

/** graphile-worker gave up: what is in hand is finished, and this process makes room for another one. */
async function endProcess(error: unknown): Promise<void> {
  log.fatal({ err: error }, "graphile-worker gave up");
  await worker.drained();
  await worker.close();
  process.exit(1);
}
