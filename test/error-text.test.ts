import assert from "node:assert/strict";
import { test } from "node:test";
import { textOf } from "../src/errors/text.ts";

test("a stored error says what happened: its code, its causes, and what it gathers", async () => {
  const failed = await fetch("http://127.0.0.1:9").catch((error: unknown) => error);
  assert.match(textOf(failed), /^TypeError: fetch failed; caused by .*(?:ECONNREFUSED|bad port)/);
  const refused = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
  const gathered = new AggregateError([refused, new Error("second")], "all failed", { cause: new RangeError("root") });
  assert.equal(
    textOf(gathered),
    "AggregateError: all failed; caused by Error: connect [ECONNREFUSED] and Error: second and RangeError: root",
  );
  assert.equal(textOf(new Error("plain")), "Error: plain");
  assert.equal(textOf({ code: 5 }), '{"code":5}');
  assert.equal(textOf(undefined), "undefined");
});

test("it is bounded, also for causes without end, and text in any case", () => {
  const endless = new Error("endless");
  endless.cause = endless;
  assert.equal(textOf(endless).match(/endless/g)?.length, 5);
  assert.equal(textOf(new Error("x".repeat(10_000))).length, 2_000);
  const hostile = {
    get message() {
      throw new Error("no");
    },
    toString: () => 5 as never,
  };
  assert.equal(
    textOf(Object.setPrototypeOf(hostile, Error.prototype)),
    "something was thrown that cannot be turned into text",
  );
});
