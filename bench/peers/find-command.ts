import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** The path of a command; undefined when there is none. */
export async function findCommand(name: string): Promise<string | undefined> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const file = join(folder, name);
    if (
      await access(file, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return file;
  }
  return undefined;
}
