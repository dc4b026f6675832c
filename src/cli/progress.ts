import { SingleBar } from "cli-progress";
import { formatNumber, say } from "./output.ts";

/** Progress of something with a known end: a bar on a terminal, a line now and then elsewhere. */
export interface ProgressDisplay {
  update(done: number, total: number, note?: string): void;
  stop(): void;
}

/** Where there is no terminal, a line at most this often. */
const LINE_INTERVAL_MS = 5_000;

/** Creates a display on standard error. */
export function createProgress(label: string): ProgressDisplay {
  return process.stderr.isTTY === true ? createBar(label) : createLines(label);
}

function createBar(label: string): ProgressDisplay {
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}% · {value}/{total} · {note}`,
    stream: process.stderr,
    hideCursor: true,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    etaBuffer: 100,
  });
  let started = false;
  return {
    update(done, total, note = "") {
      if (!started) bar.start(total, done, { note });
      started = true;
      bar.setTotal(total);
      bar.update(done, { note });
    },
    stop: () => bar.stop(),
  };
}

function createLines(label: string): ProgressDisplay {
  let lastMs = Number.NEGATIVE_INFINITY;
  return {
    update(done, total, note = "") {
      const nowMs = performance.now();
      if (done < total && nowMs - lastMs < LINE_INTERVAL_MS) return;
      lastMs = nowMs;
      say(`${label}: ${formatNumber(done)} of ${formatNumber(total)}${note === "" ? "" : `, ${note}`}`);
    },
    stop: () => undefined,
  };
}
