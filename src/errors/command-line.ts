import { extname } from "node:path";

/** How the user calls us: in a clone the sources run, through npm; an installed package is built, and has a command of its own. */
const IS_CLONE = extname(import.meta.filename) === ".ts";

/** A command line of ours, as messages name it: `npm run keys -- create`, or `inturn keys create`. */
export function commandLine(command: string, args = ""): string {
  if (!IS_CLONE) return `inturn ${command}${args === "" ? "" : ` ${args}`}`;
  return `npm run ${command}${args === "" ? "" : ` -- ${args}`}`;
}
