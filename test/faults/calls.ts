import type { HandlerCall, History } from "./history.ts";

/** A handler call with its end made out: its own, or its process's. */
export interface CallSpan extends HandlerCall {
  readonly toMs: number;
  /** It was under way when its process was stopped or cut off. */
  readonly isZombie: boolean;
  /** An earlier call of the same event had come to its end. */
  readonly isRepeat: boolean;
  /**
   * The first call of a process at the moment when it goes on after a stop. It may have been stopped between its last look
   * at the lease and the handler's first line: nothing can prevent that, and only one call can be there at a time.
   */
  readonly isInDoorway: boolean;
}

/** Who has been cut off for this long must have noticed, and start nothing more. */
const STARTS_MS_MAX = 1_500;

/** From the moment when a process goes on to the first line of the call that it was stopped in. */
const DOORWAY_MS_MAX = 20;

/** The calls in the order of their starts. */
export function spansOf(history: History): CallSpan[] {
  const ended = new Set<string>();
  const calls = history.calls.toSorted((a, b) => a.startMs - b.startMs);
  const doorways = new Set(
    history.absences.map(({ pid, toMs }) =>
      calls.find((call) => call.pid === pid && Math.abs(call.startMs - toMs) < DOORWAY_MS_MAX),
    ),
  );
  return calls.map((call) => {
    const toMs = call.endMs ?? endOfProcess(history, call);
    const name = `${call.account}/${call.seq}`;
    const isRepeat = ended.has(name);
    if (call.succeeded) ended.add(name);
    const isInDoorway = doorways.has(call);
    const wasUnderWay = history.absences.some(
      ({ pid, fromMs, toMs: untilMs }) =>
        pid === call.pid && fromMs < toMs && call.startMs <= Math.min(untilMs, fromMs + STARTS_MS_MAX),
    );
    return { ...call, toMs, isZombie: wasUnderWay || isInDoorway, isRepeat, isInDoorway };
  });
}

function endOfProcess(history: History, call: HandlerCall): number {
  const deaths = history.deaths.filter(({ pid, atMs }) => pid === call.pid && atMs >= call.startMs);
  return Math.min(Number.POSITIVE_INFINITY, ...deaths.map(({ atMs }) => atMs));
}

/** Rows by account, in their order. */
export function byAccount<Row extends { readonly account: string }>(rows: readonly Row[]): Map<string, Row[]> {
  return Map.groupBy(rows, (row) => row.account);
}
