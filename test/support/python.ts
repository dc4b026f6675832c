import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** Why tests of Python are left out; false where they are not. */
export const withoutPython: false | string = await promisify(execFile)("python3", [
  "-c",
  "import sys; sys.exit(sys.version_info < (3, 9))",
]).then(
  () => false as const,
  () => "there is no Python from 3.9 on here",
);
