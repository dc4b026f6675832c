/**
 * How long it took until things went on: after a process was taken away, after the database was back, and between two
 * events of an account.
 */
import { byAccount } from "./calls.ts";
import type { History } from "./history.ts";

/** The longest wait that was found, and every one beyond its bound. */
export interface Recovered {
  readonly longestMs: number | undefined;
  readonly problems: readonly string[];
}

/** From the loss of a process to the next call of each account that it had in hand, by another process. */
export function checkTakeovers(history: History): Recovered {
  const calls = byAccount(history.calls);
  const waits: number[] = [];
  const problems: string[] = [];
  for (const { pid, atMs, withinMs } of history.takeovers) {
    for (const [account, ofAccount] of calls) {
      const open = ofAccount.find(
        (call) => call.pid === pid && call.startMs <= atMs && (call.endMs ?? Number.POSITIVE_INFINITY) > atMs,
      );
      // A head whose process has died before rests a while, on purpose.
      if (open === undefined || open.attempt > 1) continue;
      const next = ofAccount
        .filter((call) => call.pid !== pid && call.startMs > atMs)
        .map((call) => call.startMs - atMs);
      if (next.length === 0) continue;
      const waitMs = Math.min(...next);
      waits.push(waitMs);
      if (waitMs > withinMs)
        problems.push(
          `late: ${account} was taken over from process ${pid} after ${Math.round(waitMs)} ms, not ${withinMs}`,
        );
    }
  }
  return { longestMs: longest(waits), problems };
}

/** From the healing to the first answer 202 and the first call that came to its end. */
export function checkRecoveries(history: History): Recovered {
  const waits: number[] = [];
  const problems: string[] = [];
  for (const { healedMs, withinMs } of history.recoveries) {
    const answers = history.sent.filter((sent) => sent.outcome === "acknowledged").map((sent) => sent.answeredMs);
    const ends = history.calls.flatMap((call) => (call.succeeded && call.endMs !== undefined ? [call.endMs] : []));
    for (const [what, times] of [
      ["accepted", answers],
      ["handled", ends],
    ] as const) {
      const after = times.filter((ms) => ms >= healedMs).map((ms) => ms - healedMs);
      if (after.length === 0) continue;
      const waitMs = Math.min(...after);
      waits.push(waitMs);
      if (waitMs > withinMs)
        problems.push(`late: the first event was ${what} ${Math.round(waitMs)} ms after the healing, not ${withinMs}`);
    }
  }
  return { longestMs: longest(waits), problems };
}

/** Between the end of an event, or the arrival of the next one, and the next one's start. */
export function checkIdleness(history: History): string[] {
  const { idleMsMax } = history;
  if (idleMsMax === undefined) return [];
  const answeredMs = new Map(history.sent.map((sent) => [`${sent.account}/${sent.seqs[0]}`, sent.answeredMs]));
  const problems: string[] = [];
  for (const [account, calls] of byAccount(history.calls)) {
    if (history.idleExempt.includes(account)) continue;
    const byStart = calls.toSorted((a, b) => a.startMs - b.startMs);
    for (const [i, call] of byStart.entries()) {
      const before = byStart[i - 1];
      if (before?.endMs === undefined) continue;
      const readyMs = Math.max(before.endMs, answeredMs.get(`${account}/${call.seq}`) ?? Number.NEGATIVE_INFINITY);
      const idleMs = call.startMs - readyMs;
      if (idleMs > idleMsMax)
        problems.push(
          `idle: nobody handled ${account} for ${Math.round(idleMs)} ms before event ${call.seq}, not ${idleMsMax}`,
        );
    }
  }
  return problems;
}

function longest(waits: readonly number[]): number | undefined {
  return waits.length === 0 ? undefined : Math.max(...waits);
}
