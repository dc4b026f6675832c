import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { backoffMs } from "../src/domain/backoff.ts";
import { compareBytes } from "../src/domain/byte-order.ts";
import { createRules, judgeFailure, type RetryRule } from "../src/domain/failure.ts";
import { checkLeaseTimes, LEASE_TIMES, type LeaseTimes } from "../src/domain/lease-times.ts";
import { shouldYield, TURN_EVENTS_MAX, TURN_MS_MAX } from "../src/domain/turn.ts";
import { createWorkload } from "../src/domain/workload.ts";
import type { RetryWish } from "../src/errors/retry.ts";

const mostMs = 600_000;

test("the wait doubles from attempt to attempt, between one half and the whole of it, up to its limit", () => {
  const longest = (attempt: number) => backoffMs({ attempt, firstMs: 1_000, mostMs, random: 0.999_999_9 });
  const shortest = (attempt: number) => backoffMs({ attempt, firstMs: 1_000, mostMs, random: 0 });
  assert.deepEqual([1, 2, 3, 4].map(longest), [1_000, 2_000, 4_000, 8_000]);
  assert.deepEqual([1, 2, 3, 4].map(shortest), [500, 1_000, 2_000, 4_000]);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, random) => {
        const wait = backoffMs({ attempt, firstMs: 1_000, mostMs, random });
        assert.ok(wait >= 500 && wait <= mostMs, String(wait));
      },
    ),
  );
});

test("a turn yields when the worker stops, or when it had its share and others wait", () => {
  const fresh = { events: 1, elapsedMs: 0, crowded: false, stopping: false };
  assert.equal(shouldYield(fresh), false);
  assert.equal(shouldYield({ ...fresh, stopping: true }), true);
  assert.equal(shouldYield({ ...fresh, crowded: true }), false);
  assert.equal(shouldYield({ ...fresh, crowded: true, events: TURN_EVENTS_MAX }), true);
  assert.equal(shouldYield({ ...fresh, crowded: true, elapsedMs: TURN_MS_MAX }), true);
  assert.equal(shouldYield({ ...fresh, events: TURN_EVENTS_MAX, elapsedMs: TURN_MS_MAX }), false);
});

test("a seed gives the same workload every time, numbered within each account", () => {
  const options = { events: 10_000, accounts: 1_000, seed: 42 };
  const workload = createWorkload(options);
  assert.deepEqual(workload, createWorkload(options));
  assert.notDeepEqual(workload.events, createWorkload({ ...options, seed: 43 }).events);
  const seen = new Map<string, number>();
  for (const { accountId, n } of workload.events) {
    assert.equal(n, (seen.get(accountId) ?? 0) + 1);
    seen.set(accountId, n);
  }
  assert.deepEqual(workload.eventsByAccount, seen);
  assert.equal(workload.longest, Math.max(...seen.values()));
  assert.equal(workload.events.length, 10_000);
});

const rule: RetryRule = {
  attemptsMax: 3,
  backoffMs: 1_000,
  backoffMsMax: 60_000,
  handlerTimeoutMs: 1_000,
  failurePolicy: "block",
  parkMs: 5_000,
  snoozeMsMax: 86_400_000,
  unsettledMax: 1,
  target: "default",
};

test("a failure leads to another attempt while there are some, then to what the policy says", () => {
  const judge = (attempt: number, wish?: RetryWish, policy = rule.failurePolicy) =>
    judgeFailure({ rule: { ...rule, failurePolicy: policy }, attempt, ...(wish && { wish }), random: 0 });
  assert.deepEqual(
    [1, 2, 3, 4].map((attempt) => judge(attempt)),
    [{ next: "retry", inMs: 500 }, { next: "retry", inMs: 1_000 }, { next: "block" }, { next: "block" }],
  );
  assert.deepEqual(judge(1, { never: true }), { next: "block" });
  assert.deepEqual(judge(1, { never: true }, "dead-letter"), { next: "dead-letter" });
  assert.deepEqual(judge(3, { inMs: 77, countsAttempt: false }), { next: "snooze", inMs: 77 }, "no attempt is used up");
  assert.deepEqual(judge(3, undefined, "park"), { next: "park", forMs: 5_000 });
  assert.deepEqual(judge(1, { inMs: 77, countsAttempt: true }), { next: "retry", inMs: 77 });
  assert.deepEqual(
    judge(3, { inMs: 77, countsAttempt: true }),
    { next: "block" },
    "a wish does not outlast the attempts",
  );
});

test("each event type has its rule, and what it does not say is as for all", () => {
  const ruleOf = createRules(rule, { slow: { attemptsMax: 1 }, constructor: { parkMs: 9 } });
  assert.deepEqual(ruleOf("slow"), { ...rule, attemptsMax: 1 });
  assert.deepEqual(ruleOf("constructor"), { ...rule, parkMs: 9 });
  for (const type of [null, "other", "toString"]) assert.equal(ruleOf(type), rule);
});

test("the times of a lease are refused when they break any of the rules that safety needs", () => {
  assert.equal(checkLeaseTimes(LEASE_TIMES), LEASE_TIMES);
  const unsafe: [Partial<LeaseTimes>, RegExp][] = [
    [{ trustedMs: LEASE_TIMES.lifelessMs }, /trustedMs < lifelessMs/],
    [{ silentMs: LEASE_TIMES.vanishedMs }, /silentMs < vanishedMs/],
    [{ leaseShare: 1 }, /leaseShare < 1/],
    [{ lifelessMs: LEASE_TIMES.judgingMs }, /lifelessMs < judgingMs/],
    [{ troubledMs: LEASE_TIMES.statementMs }, /statementMs < troubledMs/],
    [{ renewalMs: LEASE_TIMES.trustedMs - LEASE_TIMES.retryMs }, /renewalMs \+ retryMs < trustedMs/],
    [{ leaseMsMin: LEASE_TIMES.renewalMs + LEASE_TIMES.retryMs }, /renewalMs \+ retryMs < leaseShare x leaseMsMin/],
    [{ stuckLeases: 1 }, /stuckLeases > 1/],
  ];
  for (const [change, message] of unsafe) assert.throws(() => checkLeaseTimes({ ...LEASE_TIMES, ...change }), message);
});

test("accounts are ordered by the bytes of their ids, as PostgreSQL orders them", () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "ä", "\ud7ff", "\ue000", "\uffff", "\u{10000}", "\u{10ffff}", "z"),
    maxLength: 4,
  });
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(Math.sign(compareBytes(a, b)), Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))));
    }),
  );
});
