/**
 * The time axis of the lanes: which gaps are cut, where a moment stands, and which marks there are.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

interface Piece {
  readonly fromMs: number;
  readonly toMs: number;
}

interface Scale {
  readonly pieces: readonly (Piece & { readonly from: number; readonly to: number })[];
  readonly perMs: number;
  readonly x: (ms: number) => number;
  readonly ms: (x: number) => number;
}

/** What the script gives to the pages that load it. */
interface Inturn {
  readonly piecesOf: (spans: readonly (readonly [number, number])[], fromMs: number, toMs: number) => Piece[];
  readonly layOut: (pieces: readonly Piece[], left: number, width: number) => Scale;
  readonly marksOf: (piece: Piece, perMs: number, nowMs: number) => { ms: number; label: string }[];
  readonly lengthOf: (ms: number) => string;
}

// A script of a page exports nothing: it leaves what it gives on `globalThis`.
const script: string = "../src/dashboard/assets/lanes-time.js";
await import(script);
const { piecesOf, layOut, marksOf, lengthOf } = (globalThis as unknown as { inturnTime: Inturn }).inturnTime;

const DAY = 86_400_000;

test("two runs a day apart take most of the picture, and what happens once a minute is not cut", () => {
  const spans = [0, DAY].flatMap((start) =>
    Array.from({ length: 30 }, (_, i) => [start + i * 1_000, start + i * 1_000 + 900] as const),
  );
  const pieces = piecesOf(spans, 0, DAY + 30_000);
  assert.equal(pieces.length, 2);
  const { x, pieces: placed } = layOut(pieces, 100, 900);
  assert.ok(x(29_900) - x(0) > 300, "the first run has a good part of the width");
  assert.ok(x(DAY + 29_900) - x(DAY) > 300, "and so has the second");
  assert.ok((placed[1]?.from ?? 0) - (placed[0]?.to ?? 0) === 26);
  assert.equal(lengthOf(DAY), "1 d");

  const steady = Array.from({ length: 60 }, (_, i) => [i * 60_000, i * 60_000 + 50] as const);
  assert.deepEqual(piecesOf(steady, 0, 3_600_000), [{ fromMs: 0, toMs: 3_600_000 }]);
  assert.deepEqual(piecesOf([], 0, 5_000), [{ fromMs: 0, toMs: 5_000 }]);
});

test("whatever the spans, no span is cut, the pieces are in order, and a moment is found again at its pixel", () => {
  let seed = 7;
  const random = (most: number) => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % most;
  };
  for (let round = 0; round < 300; round++) {
    const spans = Array.from({ length: 1 + random(20) }, () => {
      const start = random(random(2) === 0 ? 100_000 : 50_000_000);
      return [start, start + random(5_000)] as const;
    });
    const toMs = Math.max(...spans.map(([, end]) => end)) + 1;
    const pieces = piecesOf(spans, 0, toMs);
    assert.deepEqual([pieces[0]?.fromMs, pieces.at(-1)?.toMs], [0, toMs]);
    for (const [i, piece] of pieces.entries()) {
      assert.ok(piece.fromMs < piece.toMs);
      assert.ok(i === 0 || (pieces[i - 1]?.toMs ?? 0) < piece.fromMs);
    }
    const scale = layOut(pieces, 50, 800);
    for (const [start, end] of spans) {
      assert.ok(
        pieces.some((piece) => piece.fromMs <= start && end <= piece.toMs),
        `${start} to ${end} in ${JSON.stringify(pieces)}`,
      );
      assert.ok(Math.abs(scale.ms(scale.x(start)) - start) < 1 / scale.perMs);
    }
    assert.ok(scale.x(toMs) <= 850.001);
  }
});

test("marks stand at even times, far enough apart", () => {
  const fromMs = new Date(2026, 0, 5, 10, 0, 7, 300).getTime();
  const marks = marksOf({ fromMs, toMs: fromMs + 120_000 }, 900 / 120_000, fromMs);
  assert.deepEqual(marks.map(({ label }) => label).slice(0, 3), ["10:00:15", "10:00:30", "10:00:45"]);
  const hours = marksOf({ fromMs, toMs: fromMs + 10 * 3_600_000 }, 900 / (10 * 3_600_000), fromMs + DAY);
  assert.deepEqual([hours[0]?.label, hours[1]?.label], ["2026-01-05 11:00", "12:00"]);
});
