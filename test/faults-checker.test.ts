/**
 * The checker of the fault suite, with histories made by hand: it must see what is wrong, and nothing where all is well.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, type Verdict } from "./faults/check.ts";
import { mutateSources } from "./faults/controls.ts";
import { type HandlerCall, type History, NO_HISTORY, type SentEvent, type StoredEvent } from "./faults/history.ts";

/** Two processes. */
const A = 1;
const B = 2;

/** An event that was sent as number `n` and acknowledged as `seq`. */
const sent = (n: number, more: Partial<SentEvent> = {}): SentEvent => ({
  account: "a",
  n,
  id: `a-${n}`,
  outcome: "acknowledged",
  seqs: [n],
  answeredMs: 0,
  ...more,
});

/** A call of process A that came to its end. */
const call = (
  seq: number,
  startMs: number,
  endMs: number | undefined,
  more: Partial<HandlerCall> = {},
): HandlerCall => ({
  account: "a",
  seq,
  n: seq,
  epoch: 1,
  attempt: 1,
  pid: A,
  startMs,
  endMs,
  succeeded: endMs !== undefined,
  ...more,
});

const stored = (seq: number, processedMs: number | undefined, more: Partial<StoredEvent> = {}): StoredEvent => ({
  account: "a",
  seq,
  id: `a-${seq}`,
  n: seq,
  state: processedMs === undefined ? "pending" : "processed",
  processedMs,
  ...more,
});

const drained = [{ account: "a", state: "idle", pending: 0 }];

/** Two events, each handled for 100 ms, as it should be. */
const WELL: History = {
  ...NO_HISTORY,
  sent: [sent(1), sent(2)],
  calls: [call(1, 100, 200), call(2, 300, 400)],
  events: [stored(1, 210), stored(2, 410)],
  accounts: drained,
};

const COLUMNS = ["lost", "doubled", "reordered", "overlapping", "gaps", "staleCommits", "stuck"] as const;

/** The columns that are not zero. */
function found(history: Partial<History>): Partial<Verdict> {
  const verdict = check({ ...WELL, ...history });
  const counts = COLUMNS.filter((column) => verdict[column] > 0).map((column) => [column, verdict[column]] as const);
  assert.equal(verdict.problems.length > 0, counts.length > 0, "what is counted is told");
  return Object.fromEntries(counts);
}

test("a run in which all went well has no problem", () => {
  assert.deepEqual(found({}), {});
  assert.deepEqual(check(NO_HISTORY).problems, []);
});

test("an acknowledged event that is not stored, or under another id, is lost", () => {
  assert.deepEqual(found({ sent: [sent(1), sent(2), sent(3)] }), { lost: 1 });
  assert.deepEqual(found({ events: [stored(1, 210), stored(2, 410, { id: "other" })] }), { lost: 1 });
});

test("an event that was settled without a handler that came to its end is lost", () => {
  const calls = [call(1, 100, 200), call(2, 300, 400, { succeeded: false })];
  assert.deepEqual(found({ calls }), { lost: 1, staleCommits: 1 });
});

test("an event that waits after the healing is lost, its account stuck, unless it is meant to be blocked", () => {
  const history = { calls: [call(1, 100, 200)], events: [stored(1, 210), stored(2, undefined)] };
  const accounts = [{ account: "a", state: "blocked", pending: 1 }];
  assert.deepEqual(found({ ...history, accounts }), { lost: 1, stuck: 1 });
  assert.deepEqual(found({ ...history, accounts, blocked: ["a"] }), {});
});

test("an event of which nobody was told may be missing or there; a refused one must not be there", () => {
  assert.deepEqual(found({ sent: [sent(1), sent(2), sent(3, { outcome: "unknown", seqs: [] })] }), {});
  const refused = check({ ...WELL, sent: [sent(1), sent(2, { outcome: "refused", seqs: [] })] });
  assert.deepEqual(refused.problems, ["a-2 was refused, and is stored"]);
});

test("an id that is stored twice, or acknowledged under two seqs, is doubled", () => {
  const events = [stored(1, 210), stored(2, 410, { id: "a-1", n: 1 })];
  assert.deepEqual(found({ sent: [sent(1)], events }), { doubled: 1, reordered: 1 });
  assert.deepEqual(found({ sent: [sent(1), sent(2, { seqs: [2, 3] })] }), { doubled: 1 });
});

test("a call that starts after its event was settled, or after a later one started, is doubled", () => {
  assert.deepEqual(found({ calls: [...WELL.calls, call(2, 500, 600, { epoch: 2, pid: B })] }), { doubled: 1 });
  assert.deepEqual(found({ calls: [...WELL.calls, call(1, 450, 460, { epoch: 2, pid: B })] }), { doubled: 1 });
});

test("a call again before the settle, after a crash, is a redelivery and no fault", () => {
  const calls = [
    call(1, 100, 200),
    call(1, 1_000, 1_100, { epoch: 2, pid: B, attempt: 2 }),
    call(2, 1_300, 1_400, { epoch: 2, pid: B }),
  ];
  const history = { ...WELL, calls, events: [stored(1, 1_110), stored(2, 1_410)], deaths: [{ pid: A, atMs: 205 }] };
  assert.deepEqual(found(history), {});
  assert.equal(check(history).redelivered, 1);
});

test("where turns go ahead of their settles, a later lease may go back so far, in order; the same lease may not", () => {
  const first = [call(1, 100, 110), call(2, 120, 130), call(3, 140, undefined)];
  const again = (...seqs: number[]) =>
    seqs.map((seq) => call(seq, 1_000 * seq, 1_000 * seq + 50, { epoch: 2, pid: B, attempt: 2 }));
  const history = {
    unsettledMax: 3,
    sent: [sent(1), sent(2), sent(3)],
    events: [stored(1, 1_060), stored(2, 2_060), stored(3, 3_060)],
    deaths: [{ pid: A, atMs: 150 }],
  };
  assert.deepEqual(found({ ...history, calls: [...first, ...again(1, 2, 3)] }), {});
  assert.equal(check({ ...WELL, ...history, calls: [...first, ...again(1, 2, 3)] }).redelivered, 2);
  assert.deepEqual(found({ ...history, unsettledMax: 2, calls: [...first, ...again(1, 2, 3)] }), { doubled: 1 });
  const underTheSame = again(1, 2, 3).map((later) => ({ ...later, epoch: 1, pid: A }));
  assert.deepEqual(found({ ...history, deaths: [], calls: [...first.slice(0, 2), ...underTheSame] }), { doubled: 1 });
  // What was settled before it came again is a fault as ever.
  const events = [stored(1, 115), stored(2, 2_060), stored(3, 3_060)];
  assert.deepEqual(found({ ...history, events, calls: [...first, ...again(1, 2, 3)] }), { doubled: 1 });
});

test("a lease that leaves an event out is reordered, unless that one was set aside", () => {
  const more = { sent: [sent(1), sent(2), sent(3)], events: [stored(1, 210), stored(2, 410), stored(3, 1_060)] };
  const late = call(2, 250, 300, { epoch: 2, pid: B });
  const calls = [call(1, 100, 200), late, call(3, 1_000, 1_050)];
  assert.deepEqual(found({ ...more, calls }).reordered, 1);
  const events = [stored(1, 210), stored(2, 410, { state: "skipped" }), stored(3, 1_060)];
  assert.deepEqual(found({ ...more, events, calls: [call(1, 100, 200), call(3, 1_000, 1_050)] }), {});
});

test("a call that starts before its predecessor has ended well is reordered, unless that one was set aside", () => {
  const calls = [call(1, 100, 200, { succeeded: false }), call(2, 300, 400)];
  assert.deepEqual(found({ calls, events: [stored(1, 350), stored(2, 410)] }), {
    lost: 1,
    reordered: 1,
    staleCommits: 1,
  });
  assert.deepEqual(found({ calls, events: [stored(1, 210, { state: "dead" }), stored(2, 410)] }), {});
});

test("numbers that are stored or acknowledged in another order than they were sent are reordered", () => {
  assert.deepEqual(found({ events: [stored(1, 210, { n: 2 }), stored(2, 410, { n: 1 })] }), { reordered: 1 });
  const swapped = { sent: [sent(1, { seqs: [2] }), sent(2, { seqs: [1] })] };
  const events = [stored(1, 210, { id: "a-2" }), stored(2, 410, { id: "a-1" })];
  assert.deepEqual(found({ ...swapped, events }), { reordered: 1 });
});

test("two calls of an account at one time overlap; a call without an end lasts until its process dies", () => {
  const calls = [call(1, 100, undefined), call(1, 1_000, 1_100, { epoch: 2, pid: B })];
  const history = { sent: [sent(1)], calls, events: [stored(1, 1_110)] };
  assert.deepEqual(found({ ...history, deaths: [{ pid: A, atMs: 150 }] }), {});
  assert.deepEqual(found({ ...history, deaths: [{ pid: A, atMs: 1_050 }] }), { overlapping: 1 });
  assert.deepEqual(found(history), { overlapping: 1 });
});

test("an overlap with a process that was stopped is told apart, one that began after it went on is not", () => {
  const absences = [{ pid: A, fromMs: 150, toMs: 1_050 }];
  const calls = [call(1, 100, 1_080), call(1, 1_000, 1_100, { epoch: 2, pid: B })];
  const history = { sent: [sent(1)], calls, events: [stored(1, 1_110)], absences };
  assert.deepEqual(found(history), {});
  assert.equal(check({ ...WELL, ...history }).zombieOverlaps, 1);
  const late = [...calls, call(1, 1_075, 1_090)];
  assert.deepEqual(found({ ...history, calls: late }), { overlapping: 1 });
});

test("of the calls that begin just when a stopped process goes on one may have been on its way; a second one is a fault", () => {
  const absences = [{ pid: A, fromMs: 420, toMs: 1_000 }];
  const first = call(1, 1_001, 1_050);
  assert.deepEqual(found({ calls: [...WELL.calls, first], absences }), {});
  assert.deepEqual(found({ calls: [...WELL.calls, first, call(2, 1_002, 1_003)], absences }), { doubled: 1 });
  assert.deepEqual(found({ calls: [...WELL.calls, call(1, 1_030, 1_050)], absences }), { doubled: 1 });
});

test("a settle by whom the account was taken from is stale", () => {
  const absences = [{ pid: A, fromMs: 150, toMs: 1_050 }];
  const calls = [call(1, 100, 1_060), call(1, 1_000, 1_200, { epoch: 2, pid: B })];
  assert.deepEqual(found({ sent: [sent(1)], calls, events: [stored(1, 1_070)], absences }), { staleCommits: 1 });
});

test("a missing seq is a gap", () => {
  assert.deepEqual(found({ sent: [], calls: [call(2, 300, 400)], events: [stored(2, 410)] }), {
    gaps: 1,
    reordered: 1,
  });
});

test("what the view of violations shows counts", () => {
  const violation = { account: "a", seq: 2, detail: "…" };
  assert.deepEqual(found({ violations: [{ ...violation, kind: "overlap" }] }), { reordered: 1 });
  assert.deepEqual(found({ violations: [{ ...violation, kind: "gap" }] }), { gaps: 1 });
});

test("a takeover, a recovery and an idle account are measured against their bounds", () => {
  const calls = [call(1, 100, undefined), call(1, 2_600, 2_700, { epoch: 2, pid: B, attempt: 2 })];
  const history = { ...WELL, sent: [sent(1)], calls, events: [stored(1, 2_710)], deaths: [{ pid: A, atMs: 600 }] };
  const takeover = (withinMs: number) => check({ ...history, takeovers: [{ pid: A, atMs: 600, withinMs }] });
  assert.deepEqual([takeover(2_000).recoverySeconds, takeover(2_000).problems], [2, []]);
  assert.deepEqual(takeover(1_999).problems, ["late: a was taken over from process 1 after 2000 ms, not 1999"]);
  const recovery = check({ ...WELL, recoveries: [{ healedMs: 250, withinMs: 100 }] });
  assert.deepEqual(recovery.problems, ["late: the first event was handled 150 ms after the healing, not 100"]);
  assert.deepEqual(check({ ...WELL, idleMsMax: 100 }).problems, []);
  assert.deepEqual(check({ ...WELL, idleMsMax: 99 }).problems, [
    "idle: nobody handled a for 100 ms before event 2, not 99",
  ]);
});

test("counters that handlers raised in their transactions must equal the settled events", () => {
  assert.deepEqual(found({ counters: { a: 2 } }), {});
  assert.deepEqual(found({ counters: { a: 3 } }), { doubled: 1 });
  assert.deepEqual(found({ counters: { a: 1 } }), { lost: 1 });
  assert.deepEqual(check({ ...WELL, counters: { a: 3 } }).problems, [
    "doubled: a counted 3 in its transactions, and has 2 settled events",
  ]);
});

test("what the controls break is still there to be broken", async () => {
  assert.equal((await mutateSources()).length, 10);
});
