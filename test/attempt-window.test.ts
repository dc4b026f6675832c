/** How a worker sees that the attempts of a target fail: by the last ones, whatever went well before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AttemptWindow } from "../src/engine/attempt-window.ts";

const rule = { attemptsMin: 20, accountsMin: 5 };

test("a burst of failures shows, although a thousand attempts went well in the same second and none comes after it", () => {
  const window = new AttemptWindow();
  for (let ms = 0; ms < 400; ms += 1) for (let i = 0; i < 4; i += 1) window.succeeded(5_000 + ms);
  // Five attempts of each account, 50 ms to 400 ms apart: then all are blocked.
  for (const ms of [400, 450, 550, 750, 950]) {
    for (let account = 0; account < 10; account += 1) window.failed(5_000 + ms, `a${account}`, "ECONNREFUSED");
  }
  for (const laterMs of [1_000, 2_000, 9_000]) {
    const { attempts, failed, failedAccounts } = window.sums(5_000 + laterMs, rule);
    assert.deepEqual([attempts, failed, failedAccounts.length], [20, 20, 5]);
  }
  assert.deepEqual(window.sums(5_000 + 11_100, rule), { attempts: 0, failed: 0, failedAccounts: [] });
});

test("of few attempts all within ten seconds count, and what is older does not", () => {
  const window = new AttemptWindow();
  window.failed(0, "a", "x");
  for (let second = 1; second <= 12; second += 1) window.succeeded(second * 1_000);
  window.failed(12_500, "b", "y");
  assert.deepEqual(window.sums(12_600, rule), { attempts: 11, failed: 1, failedAccounts: ["b"] });
  assert.equal(window.lastError, "y");
});
