import { InturnError } from "../errors/error.ts";

/**
 * Refuses what a function does not know: from JavaScript an option that is misspelled, or that does not exist, would be ignored.
 *
 * @throws InturnError `settings_invalid`
 */
export function refuseUnknownOptions(name: string, options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).filter((option) => !known.includes(option));
  if (unknown.length === 0) return;
  const faults = unknown.map((option) => ({ where: option, message: `${name} has no such option` }));
  throw new InturnError("settings_invalid", `${name} takes ${known.join(", ")}; not ${unknown.join(", ")}.`, {
    faults,
  });
}
