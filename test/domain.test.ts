import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BACKOFF_MS_MAX, backoffMs } from "../src/domain/backoff.ts";
import { shouldYield, TURN_EVENTS_MAX, TURN_MS_MAX } from "../src/domain/turn.ts";
import { createWorkload } from "../src/domain/workload.ts";

test("the wait doubles from attempt to attempt, between one half and the whole of it, up to its limit", () => {
  const longest = (attempt: number) => backoffMs({ attempt, firstMs: 1_000, random: 0.999_999_9 });
  const shortest = (attempt: number) => backoffMs({ attempt, firstMs: 1_000, random: 0 });
  assert.deepEqual([1, 2, 3, 4].map(longest), [1_000, 2_000, 4_000, 8_000]);
  assert.deepEqual([1, 2, 3, 4].map(shortest), [500, 1_000, 2_000, 4_000]);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, random) => {
        const wait = backoffMs({ attempt, firstMs: 1_000, random });
        assert.ok(wait >= 500 && wait <= BACKOFF_MS_MAX, String(wait));
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
