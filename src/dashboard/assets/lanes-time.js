/** The time axis of the lanes: long gaps are cut out, and its marks stand at even times of the clock. */
(() => {
  /** So many gaps are cut at most. */
  const CUTS_MAX = 6;
  /** A gap is cut when it takes more than this part of what is left. */
  const CUT_FROM = 0.2;
  /** Shorter gaps are part of the picture. */
  const CUT_MS_LEAST = 10_000;
  /** How wide a cut is drawn, in pixels. */
  const CUT_WIDTH = 26;
  /** Marks are at least so far apart, in pixels. */
  const MARK_WIDTH = 84;
  const SECOND = 1_000;
  const MINUTE = 60 * SECOND;
  const HOUR = 60 * MINUTE;
  const DAY = 24 * HOUR;
  const STEPS = [
    [1, [1, 2, 5, 10, 20, 50, 100, 200, 500]],
    [SECOND, [1, 2, 5, 10, 15, 30]],
    [MINUTE, [1, 2, 5, 10, 15, 30]],
    [HOUR, [1, 2, 3, 6, 12]],
    [DAY, [1, 2, 5, 10, 20, 50, 100, 365]],
  ].flatMap(([unit, counts]) => counts.map((n) => n * unit));

  /** The gaps between these spans of time, which may overlap and are in no order. */
  const gapsOf = (spans, fromMs, toMs) => {
    const gaps = [];
    let endMs = fromMs;
    for (const [startMs, stopMs] of spans.toSorted((a, b) => a[0] - b[0])) {
      if (startMs > endMs) gaps.push({ fromMs: endMs, toMs: Math.min(startMs, toMs) });
      endMs = Math.max(endMs, stopMs);
      if (endMs >= toMs) break;
    }
    if (endMs < toMs) gaps.push({ fromMs: endMs, toMs });
    return gaps;
  };

  /** The pieces of time from `fromMs` to `toMs` that are drawn: all of it but the gaps that would leave no room for the rest. */
  const piecesOf = (spans, fromMs, toMs) => {
    let left = toMs - fromMs;
    const cuts = [];
    const byLength = gapsOf(spans, fromMs, toMs).toSorted((a, b) => b.toMs - b.fromMs - (a.toMs - a.fromMs));
    for (const gap of byLength.slice(0, CUTS_MAX)) {
      const ms = gap.toMs - gap.fromMs;
      if (ms < CUT_MS_LEAST || ms < left * CUT_FROM) break;
      // What stays of a gap on both sides keeps the bars off the cut.
      const margin = Math.min(ms / 10, (left - ms) / 20 + 1);
      cuts.push({ fromMs: gap.fromMs + margin, toMs: gap.toMs - margin });
      left -= ms - 2 * margin;
    }
    const pieces = [];
    let startMs = fromMs;
    for (const cut of cuts.toSorted((a, b) => a.fromMs - b.fromMs)) {
      pieces.push({ fromMs: startMs, toMs: cut.fromMs });
      startMs = cut.toMs;
    }
    return [...pieces, { fromMs: startMs, toMs }];
  };

  /** Gives each piece its place between two pixels, by its length. */
  const layOut = (pieces, left, width) => {
    const total = pieces.reduce((sum, piece) => sum + piece.toMs - piece.fromMs, 0);
    const perMs = Math.max(1, width - CUT_WIDTH * (pieces.length - 1)) / Math.max(1, total);
    let at = left;
    const placed = pieces.map((piece) => {
      const from = at;
      const to = from + (piece.toMs - piece.fromMs) * perMs;
      at = to + CUT_WIDTH;
      return { ...piece, from, to };
    });
    return {
      pieces: placed,
      perMs,
      /** The pixel of a moment; what lies in a cut or outside stands at its edge. */
      x(ms) {
        const piece = placed.find(({ toMs }) => ms <= toMs) ?? placed.at(-1);
        return Math.min(piece.to, piece.from + Math.max(0, ms - piece.fromMs) * perMs);
      },
      /** The moment of a pixel. */
      ms(x) {
        const piece = placed.find(({ to }) => x <= to) ?? placed.at(-1);
        return Math.min(piece.toMs, piece.fromMs + Math.max(0, x - piece.from) / perMs);
      },
    };
  };

  const dayOf = (ms) => new Date(ms).toLocaleDateString("en-CA");

  /** The marks of a piece: even times of this browser's clock, the first with its day when that is not today. */
  const marksOf = ({ fromMs, toMs }, perMs, nowMs) => {
    const step = STEPS.find((ms) => ms * perMs >= MARK_WIDTH) ?? STEPS.at(-1);
    const zoneMs = new Date(fromMs).getTimezoneOffset() * MINUTE;
    const marks = [];
    for (let ms = Math.ceil((fromMs - zoneMs) / step) * step + zoneMs; ms <= toMs; ms += step) {
      const isOtherDay = marks.length === 0 && step < DAY && dayOf(ms) !== dayOf(nowMs);
      marks.push({ ms, label: `${isOtherDay ? `${dayOf(ms)} ` : ""}${labelOf(ms, step)}` });
    }
    return marks;
  };

  const labelOf = (ms, step) => {
    const date = new Date(ms);
    if (step >= DAY) return dayOf(ms);
    const time = date.toLocaleTimeString("en-GB");
    if (step < SECOND) return `${time}.${String(date.getMilliseconds()).padStart(3, "0")}`;
    return step < MINUTE ? time : time.slice(0, 5);
  };

  /** How long something took, in two words at most. */
  const lengthOf = (ms) => {
    const [size, unit] = [
      [DAY, "d"],
      [HOUR, "h"],
      [MINUTE, "min"],
      [SECOND, "s"],
    ].find(([least]) => ms >= least) ?? [1, "ms"];
    return `${Math.round(ms / size)} ${unit}`;
  };

  globalThis.inturnTime = { piecesOf, layOut, marksOf, lengthOf };
})();
