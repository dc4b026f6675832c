import type { Settings } from "../config/settings.ts";
import type { Operated, Operation } from "../db/operate.ts";
import { openDatabase } from "../db/pool.ts";
import { carryOutVerb } from "../engine/operate.ts";
import { useDatabase } from "./database.ts";

/** Carries out a verb over a connection of its own, at whichever database the settings name. See `carryOutVerb`. */
export async function operateOnce(options: {
  settings: Settings;
  operation: Operation;
  say: (line: string) => void;
}): Promise<Operated> {
  const database = await useDatabase({ settings: options.settings, migrate: false, say: options.say });
  const connection = openDatabase({
    url: database.url,
    name: "inturn operator",
    connectionsMax: 1,
    onError: () => undefined,
  });
  try {
    return await carryOutVerb(connection, options.operation);
  } finally {
    await connection.end();
    await database.release();
  }
}
