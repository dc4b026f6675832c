/**
 * Moves a bucket, and dies at a step: `mover-process.ts <bucket> <cell> [<step>]`. Nothing of it ends well, as with a machine that is gone.
 */
import { cellsOf } from "../../src/config/cell-settings.ts";
import { readSettings } from "../../src/config/settings.ts";
import { Mover } from "../../src/service/move.ts";

const [bucket, to = "", fatal] = process.argv.slice(2);
const mover = new Mover({
  cells: cellsOf(readSettings(process.env)) ?? [],
  waitMs: 30_000,
  signal: new AbortController().signal,
  onProgress: ({ step }) => {
    if (step === fatal) process.kill(process.pid, "SIGKILL");
  },
});
await mover.move({ bucket: Number(bucket), to });
await mover.close();
