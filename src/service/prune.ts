import type { Settings } from "../config/settings.ts";
import { openDatabase } from "../db/pool.ts";
import { pruneAll } from "../engine/prune.ts";
import { useDatabase } from "./database.ts";

/** Prunes once, over a connection of its own, at whichever database the settings name; returns how many events went. */
export async function pruneOnce(options: {
  settings: Settings;
  keepDays: number;
  say: (line: string) => void;
  onProgress: (events: number) => void;
}): Promise<number> {
  const database = await useDatabase({ settings: options.settings, migrate: false, say: options.say });
  const connection = openDatabase({
    url: database.url,
    name: "inturn prune",
    connectionsMax: 1,
    keyedPlans: true,
    onError: () => undefined,
  });
  try {
    return await pruneAll(connection, options);
  } finally {
    await connection.end();
    await database.release();
  }
}
