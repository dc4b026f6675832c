/**
 * The checker: judges one run from its history alone. A pure function, tested with histories made by hand.
 */
import { byAccount, type CallSpan, spansOf } from "./calls.ts";
import type { History, SentEvent, StoredEvent } from "./history.ts";
import { checkIdleness, checkRecoveries, checkTakeovers } from "./recovery.ts";

/** What was wrong, counted, and told in words. */
export interface Verdict {
  /** Acknowledged, but not stored, not settled, or never handled to the end; or accounts that lack the effect of a settled event. */
  readonly lost: number;
  /**
   * Stored twice, or handed out again although it was settled or a later event had been started (where turns go ahead of their
   * settles: further back than they may, or under the same lease); or accounts with an effect of an event that is not settled, or
   * with one effect twice.
   */
  readonly doubled: number;
  /** Started before its predecessor had ended, or under a lease that left it out; or stored in another order than it was sent. */
  readonly reordered: number;
  /** Two calls of one account at one time, in processes that could have known. */
  readonly overlapping: number;
  readonly gaps: number;
  /** Settled although the account's highest epoch was another's by then. */
  readonly staleCommits: number;
  /** Accounts that were not drained after everything was healed. */
  readonly stuck: number;
  /** Calls that repeat an event before it was settled: at-least-once delivery allows them after a crash. */
  readonly redelivered: number;
  /** Calls in a process that was stopped or cut off, at the same time as another's of the account: nobody can prevent that. */
  readonly zombieOverlaps: number;
  /** The longest recovery; undefined when the run had none to measure. */
  readonly recoverySeconds: number | undefined;
  /** Everything that makes the run red, in words. */
  readonly problems: readonly string[];
}

/** The views' times are mapped from the database's clock to ours: so exactly, at worst. */
const CLOCK_TOLERANCE_MS = 5;

/** Judges a run. */
export function check(history: History): Verdict {
  const spans = spansOf(history);
  const recovery = [checkTakeovers(history), checkRecoveries(history)];
  const effects = findWrongEffects(history);
  const found = {
    lost: [...findLost(history), ...effects.lost],
    doubled: [...findDoubleStored(history), ...findLateStarts(history, spans), ...effects.doubled],
    reordered: [
      ...findEarlyStarts(history, spans),
      ...findLeftOut(history, spans),
      ...findReorderedStore(history),
      ...findViolations(history),
    ],
    overlapping: findOverlaps(spans),
    gaps: findGaps(history),
    staleCommits: findStaleCommits(history, spans),
    stuck: findStuck(history),
  };
  const seconds = recovery.flatMap(({ longestMs }) => (longestMs === undefined ? [] : [longestMs / 1_000]));
  const other = [
    ...recovery.flatMap(({ problems }) => problems),
    ...checkIdleness(history),
    ...findContradictions(history),
  ];
  return {
    ...(Object.fromEntries(Object.entries(found).map(([kind, cases]) => [kind, cases.length])) as Counts<typeof found>),
    redelivered: spans.filter((span) => span.isRepeat).length,
    zombieOverlaps: countZombieOverlaps(spans),
    recoverySeconds: seconds.length === 0 ? undefined : Math.max(...seconds),
    problems: [...Object.entries(found).flatMap(([kind, cases]) => cases.map((text) => `${kind}: ${text}`)), ...other],
  };
}

type Counts<Found> = { [Kind in keyof Found]: number };

const isSetAside = (event: StoredEvent) => event.state === "dead" || event.state === "skipped";
const isSettled = (event: StoredEvent) => event.state === "processed" || isSetAside(event);
const nameOf = (event: { account: string; seq: number }) => `${event.account}/${event.seq}`;

function findLost(history: History): string[] {
  const stored = new Map(history.events.map((event) => [nameOf(event), event]));
  const handled = new Set(history.calls.filter((call) => call.succeeded).map(nameOf));
  const lost: string[] = [];
  for (const sent of history.sent) {
    if (sent.outcome !== "acknowledged") continue;
    const event = stored.get(`${sent.account}/${sent.seqs[0]}`);
    if (event === undefined || event.id !== sent.id)
      lost.push(`${sent.id} was acknowledged as ${sent.seqs[0]}, and is not there`);
    else if (!isSettled(event) && !history.blocked.includes(event.account))
      lost.push(`${nameOf(event)} is ${event.state}`);
  }
  for (const event of history.events) {
    // A handler killed between the commit of its own transaction and its next line cannot say that it ended.
    if (event.state === "processed" && history.counters === undefined && !handled.has(nameOf(event)))
      lost.push(`${nameOf(event)} is settled, but no handler came to its end`);
  }
  return lost;
}

function findDoubleStored(history: History): string[] {
  const seen = new Map<string, number>();
  for (const { account, id } of history.events)
    if (id !== null) seen.set(`${account} ${id}`, (seen.get(`${account} ${id}`) ?? 0) + 1);
  const stored = [...seen].filter(([, copies]) => copies > 1).map(([id, copies]) => `${id} is stored ${copies} times`);
  const told = history.sent
    .filter((sent) => new Set(sent.seqs).size > 1)
    .map((sent) => `${sent.id} was acknowledged as ${sent.seqs.join(" and ")}`);
  return [...stored, ...told];
}

/** Transactions whose settle is there and whose effect is not, or the other way round. */
function findWrongEffects(history: History): { lost: string[]; doubled: string[] } {
  const lost: string[] = [];
  const doubled: string[] = [];
  for (const [account, events] of history.counters === undefined ? [] : byAccount(history.events)) {
    const settled = events.filter((event) => event.state === "processed").length;
    const counted = history.counters?.[account] ?? 0;
    const told = `${account} counted ${counted} in its transactions, and has ${settled} settled events`;
    if (counted < settled) lost.push(told);
    if (counted > settled) doubled.push(told);
  }
  return { lost, doubled };
}

/**
 * A call that starts when its event is settled already, or when a later one was started. Where turns go ahead of their settles, the
 * next lease may begin again with the first event that is not settled.
 */
function findLateStarts(history: History, spans: readonly CallSpan[]): string[] {
  const settledMs = new Map(
    history.events.map((event) => [nameOf(event), event.processedMs ?? Number.POSITIVE_INFINITY]),
  );
  const late: string[] = [];
  for (const calls of byAccount(spans).values()) {
    let highest = 0;
    let epoch = 0;
    for (const call of calls) {
      if (call.isInDoorway) continue;
      const mayComeAgain = call.epoch > epoch && call.seq > highest - history.unsettledMax;
      if (call.seq < highest && !mayComeAgain) late.push(`${tell(call)} started after event ${highest} had`);
      else if (call.startMs > (settledMs.get(nameOf(call)) ?? Number.POSITIVE_INFINITY) + CLOCK_TOLERANCE_MS)
        late.push(`${tell(call)} started after the event was settled`);
      if (call.seq >= highest) ({ seq: highest, epoch } = call);
    }
  }
  return late;
}

/** A call that starts before its predecessor has come to its end, or was set aside. */
function findEarlyStarts(history: History, spans: readonly CallSpan[]): string[] {
  const doneMs = new Map<string, number>();
  const note = (name: string, ms: number) =>
    doneMs.set(name, Math.min(doneMs.get(name) ?? Number.POSITIVE_INFINITY, ms));
  for (const call of spans) if (call.succeeded) note(nameOf(call), call.toMs);
  for (const event of history.events) {
    const countsAsDone = isSetAside(event) || history.counters !== undefined;
    if (countsAsDone && event.processedMs !== undefined) note(nameOf(event), event.processedMs - CLOCK_TOLERANCE_MS);
  }
  return spans
    .filter(
      ({ account, seq, startMs }) =>
        seq > 1 && !((doneMs.get(`${account}/${seq - 1}`) ?? Number.POSITIVE_INFINITY) <= startMs),
    )
    .map((call) => `${tell(call)} started before event ${call.seq - 1} had come to its end`);
}

/** A call that leaves events out between the one before it under the same lease and its own, unless they were set aside. */
function findLeftOut(history: History, spans: readonly CallSpan[]): string[] {
  const setAside = new Set(history.events.filter(isSetAside).map(nameOf));
  const leavesOut = (call: CallSpan, before: CallSpan | undefined) => {
    const skipped = Math.max(0, call.seq - (before?.seq ?? call.seq) - 1);
    return Array.from({ length: skipped }, (_, n) => call.seq - 1 - n).some(
      (seq) => !setAside.has(nameOf({ ...call, seq })),
    );
  };
  const leases = Map.groupBy(spans, ({ account, epoch, pid }) => `${account} ${epoch} ${pid}`);
  return [...leases.values()]
    .flatMap((calls) => calls.filter((call, i) => leavesOut(call, calls[i - 1])))
    .map((call) => `${tell(call)} leaves out what comes before it`);
}

/** Each account's events are sent one after the other: the answers, and the store, must keep that order. */
function findReorderedStore(history: History): string[] {
  const wrong: string[] = [];
  for (const events of byAccount(history.events).values()) {
    const bySeq = events.toSorted((a, b) => a.seq - b.seq);
    for (const [i, event] of bySeq.entries()) {
      const before = bySeq[i - 1];
      if (before !== undefined && before.n >= event.n)
        wrong.push(`${nameOf(event)} carries number ${event.n}, the one before it ${before.n}`);
    }
  }
  for (const sent of byAccount(history.sent).values()) {
    const acknowledged = sent.filter((event) => event.outcome === "acknowledged").toSorted((a, b) => a.n - b.n);
    for (const [i, event] of acknowledged.entries()) {
      const before = acknowledged[i - 1];
      if (before !== undefined && seqOf(before) >= seqOf(event))
        wrong.push(`${event.id} got seq ${seqOf(event)}, the one before it ${seqOf(before)}`);
    }
  }
  return wrong;
}

const seqOf = (sent: SentEvent) => sent.seqs[0] ?? 0;

function findViolations(history: History): string[] {
  return history.violations
    .filter((violation) => violation.kind !== "gap")
    .map((violation) => `${nameOf(violation)}: ${violation.kind}, ${violation.detail}`);
}

function findGaps(history: History): string[] {
  const gaps: string[] = [];
  for (const [account, events] of byAccount(history.events)) {
    const seqs = events.map((event) => event.seq).toSorted((a, b) => a - b);
    for (const [i, seq] of seqs.entries())
      if (seq !== (seqs[i - 1] ?? 0) + 1) gaps.push(`${account} has no event before ${seq}`);
  }
  const shown = history.violations.filter((violation) => violation.kind === "gap");
  return gaps.length > 0 ? gaps : shown.map((violation) => `${nameOf(violation)}: ${violation.detail}`);
}

/** Pairs of calls of one account at one time, in processes that could have known. */
function findOverlaps(spans: readonly CallSpan[]): string[] {
  return overlapsOf(spans)
    .filter(([call, later]) => !call.isZombie && !later.isZombie)
    .map(([call, later]) => {
      const overlapMs = Math.round(Math.min(call.toMs, later.toMs) - later.startMs);
      return `${tell(call)} and ${tell(later)} for ${overlapMs} ms`;
    });
}

function countZombieOverlaps(spans: readonly CallSpan[]): number {
  return new Set(overlapsOf(spans).flatMap((pair) => pair.filter((call) => call.isZombie))).size;
}

function overlapsOf(spans: readonly CallSpan[]): [CallSpan, CallSpan][] {
  return [...byAccount(spans).values()].flatMap((calls) =>
    calls.flatMap((call, i) =>
      calls
        .slice(i + 1)
        .filter((later) => later.startMs < call.toMs)
        .map((later): [CallSpan, CallSpan] => [call, later]),
    ),
  );
}

/** A settle must come from the call with the highest epoch that had been handed out, after that call had come to its end. */
function findStaleCommits(history: History, spans: readonly CallSpan[]): string[] {
  const calls = byAccount(spans);
  const stale: string[] = [];
  for (const event of history.events) {
    const { processedMs, seq } = event;
    if (event.state !== "processed" || processedMs === undefined) continue;
    const ofAccount = calls.get(event.account) ?? [];
    const epochs = ofAccount
      .filter((call) => call.startMs < processedMs - CLOCK_TOLERANCE_MS)
      .map((call) => call.epoch);
    const highest = Math.max(0, ...epochs);
    const isOwner = (call: CallSpan) =>
      call.seq === seq &&
      call.epoch >= highest &&
      call.startMs <= processedMs + CLOCK_TOLERANCE_MS &&
      (history.counters !== undefined || (call.succeeded && call.toMs <= processedMs + CLOCK_TOLERANCE_MS));
    if (!ofAccount.some(isOwner)) stale.push(`${nameOf(event)} was settled while epoch ${highest} had the account`);
  }
  return stale;
}

function findStuck(history: History): string[] {
  return history.accounts
    .filter(
      (account) => !history.blocked.includes(account.account) && (account.pending > 0 || account.state !== "idle"),
    )
    .map((account) => `${account.account} is ${account.state}, ${account.pending} events wait`);
}

/** The three sources contradict each other in a way that no column counts. */
function findContradictions(history: History): string[] {
  const problems: string[] = [];
  const stored = new Set(history.events.map((event) => event.id));
  for (const sent of history.sent) {
    if (sent.outcome === "refused" && stored.has(sent.id)) problems.push(`${sent.id} was refused, and is stored`);
  }
  for (const account of history.blocked) {
    const state = history.accounts.find((row) => row.account === account)?.state;
    if (state !== "blocked") problems.push(`${account} should be blocked, and is ${state ?? "not there"}`);
  }
  return problems;
}

function tell(call: CallSpan): string {
  return `${nameOf(call)} (epoch ${call.epoch}, process ${call.pid})`;
}
