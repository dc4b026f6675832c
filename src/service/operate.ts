import type { Settings } from "../config/settings.ts";
import type { Operated, Operation } from "../db/operate.ts";
import { carryOutVerb } from "../engine/operate.ts";
import { withConnection } from "./connection.ts";

/** Carries out a verb at whichever database the settings name. See `carryOutVerb`. */
export async function operateOnce(options: {
  settings: Settings;
  operation: Operation;
  say: (line: string) => void;
}): Promise<Operated> {
  return await withConnection({ ...options, name: "inturn operator" }, (database) =>
    carryOutVerb(database, options.operation),
  );
}
