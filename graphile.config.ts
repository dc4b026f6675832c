/**
 * For the plain tool: `DATABASE_URL=… npx graphile-worker` from this folder runs a worker, the same as `npm run work`.
 */
import { readSettings } from "./src/config/settings.ts";
import { createLog } from "./src/log/log.ts";
import { composeWorker } from "./src/service/work.ts";

const settings = readSettings(process.env);
const log = createLog({ level: settings.logLevel, name: "work" });
const { preset } = await composeWorker({ settings, databaseUrl: settings.databaseUrl ?? "", log });

export default preset satisfies GraphileConfig.Preset;
