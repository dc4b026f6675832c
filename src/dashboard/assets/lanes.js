/** Draws accounts as rows of bars over time, and draws them anew while they move. */
(() => {
  const holder = document.querySelector("#lanes");
  if (holder === null) return;
  const canvas = holder.querySelector("canvas");
  const draw2d = canvas.getContext("2d");
  const hint = document.querySelector("#lanes-hint");
  const said = hint.innerHTML;
  const AXIS = 26;
  const ROW = { least: 4, most: 18 };
  const LABELS_FROM = 12;
  const POLL_MS = 1_000;
  const { piecesOf, layOut, marksOf, lengthOf } = globalThis.inturnTime;
  const isEverything = holder.dataset.seconds === "0";
  const empty = document.querySelector("#lanes-empty");
  let data = { nowMs: Date.now(), lanes: [] };
  let view = { fromMs: 0, toMs: 1, row: ROW.most, left: 8, width: 0, time: layOut([{ fromMs: 0, toMs: 1 }], 8, 1) };
  /** The stretch of time that was chosen, or null. */
  let zoom = null;

  const colors = () => {
    const style = getComputedStyle(document.documentElement);
    const probe = document.createElement("span");
    holder.append(probe);
    const of = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const found = {
      run: of("--accent"),
      wait: of("--wait"),
      dead: of("--bad"),
      head: of("--warn"),
      line: of("--line"),
      dim: of("--dim"),
      paper: of("--card"),
      font: `11px ${style.fontFamily}`,
    };
    probe.remove();
    return found;
  };

  /** What is drawn without a zoom: the last seconds, or from the first event to the last thing that happened. */
  const whole = () => {
    if (!isEverything) return { fromMs: data.nowMs - Number(holder.dataset.seconds) * 1_000, toMs: data.nowMs };
    const bars = data.lanes.flatMap(({ bars: own }) => own);
    const isOpen = bars.some(([, , , settled]) => settled === null);
    const last = bars.reduce((most, [, , , settled]) => Math.max(most, settled ?? 0), 0);
    const toMs = isOpen || bars.length === 0 ? data.nowMs : last;
    const first = bars.reduce((least, [, received]) => Math.min(least, received), toMs);
    return { fromMs: first, toMs: Math.max(toMs, first + 1_000) };
  };

  /** The times in which something happened. Waiting is none. */
  const busySpans = ({ fromMs, toMs }) => {
    const spans = [[toMs, toMs]];
    for (const { bars, state } of data.lanes) {
      for (const [, received, started, settled] of bars) {
        const endMs = settled ?? (state === "running" ? data.nowMs : started);
        for (const span of [[received, received], started === null ? null : [started, endMs]]) {
          if (span !== null && span[1] >= fromMs && span[0] <= toMs) spans.push(span);
        }
      }
    }
    return spans;
  };

  const drawLine = (x, height, dash = []) => {
    draw2d.setLineDash(dash);
    draw2d.beginPath();
    draw2d.moveTo(Math.round(x) + 0.5, AXIS - 6);
    draw2d.lineTo(Math.round(x) + 0.5, height);
    draw2d.stroke();
    draw2d.setLineDash([]);
  };

  const drawAxis = (color, height) => {
    draw2d.textAlign = "center";
    let free = 0;
    const { pieces, perMs } = view.time;
    pieces.forEach((piece, i) => {
      draw2d.fillStyle = color.dim;
      draw2d.strokeStyle = color.line;
      for (const { ms, label } of marksOf(piece, perMs, data.nowMs)) {
        const at = view.time.x(ms);
        drawLine(at, height);
        const half = draw2d.measureText(label).width / 2;
        if (at - half < free || at + half > view.left + view.width - 30) continue;
        draw2d.fillText(label, at, 14);
        free = at + half + 8;
      }
      const next = pieces[i + 1];
      if (next === undefined) return;
      draw2d.fillStyle = color.line;
      draw2d.fillRect(piece.to, AXIS - 6, next.from - piece.to, height);
      draw2d.fillStyle = color.dim;
      draw2d.fillText(lengthOf(next.fromMs - piece.toMs), (piece.to + next.from) / 2, AXIS + 6);
    });
  };

  const drawNow = (color, height) => {
    if (data.nowMs > view.toMs + 1) return;
    draw2d.strokeStyle = color.dim;
    draw2d.fillStyle = color.dim;
    const at = view.time.x(data.nowMs);
    drawLine(at - 1, height, [4, 3]);
    draw2d.textAlign = "right";
    draw2d.fillText("now", at, 14);
  };

  const drawRect = (fromMs, toMs, middle, tall) => {
    if (toMs < view.fromMs || fromMs > view.toMs) return;
    const gap = view.row > 6 ? 1 : 0.5;
    const [from, to] = [view.time.x(fromMs), view.time.x(toMs)];
    draw2d.fillRect(from, middle - tall / 2, Math.max(1, to - from - gap), tall);
  };
  const thickness = () => Math.max(2, view.row - (view.row > 6 ? 4 : 1));

  const drawWait = (color, top, [, received, started, settled]) => {
    draw2d.fillStyle = color.wait;
    drawRect(received, started ?? settled ?? data.nowMs, top + view.row / 2, Math.max(1, thickness() / 4));
  };
  /** The head: by the state of its account. A blocked one is hollow, so that it looks unlike a dead letter. */
  const drawHead = (color, top, started, state) => {
    draw2d.fillStyle = state === "blocked" ? color.dead : state === "retrying" ? color.head : color.run;
    const middle = top + view.row / 2;
    drawRect(started, data.nowMs, middle, state === "blocked" ? thickness() : thickness() / 2);
    if (state !== "blocked" || thickness() < 5) return;
    draw2d.fillStyle = color.paper;
    drawRect(started, data.nowMs, middle, thickness() - 4);
  };
  const drawRun = (color, top, [, , started, settled, attempts, outcome], state) => {
    if (started === null) return;
    if (settled === null) return drawHead(color, top, started, state);
    draw2d.fillStyle = outcome === "dead" ? color.dead : color.run;
    drawRect(started, settled, top + view.row / 2, thickness());
    if (attempts < 2) return;
    draw2d.fillStyle = color.head;
    drawRect(started, settled, top + view.row - 2, 2);
  };

  const draw = () => {
    const count = Math.max(1, data.lanes.length);
    const room = innerHeight * 0.72 - AXIS;
    const row = Math.min(ROW.most, Math.max(ROW.least, Math.floor(room / count)));
    const wide = holder.clientWidth;
    const left = row >= LABELS_FROM ? Math.min(180, wide / 3) : 8;
    const window = zoom ?? whole();
    const width = wide - left - 12;
    // Where the picture moves with the clock, a cut would move as well.
    const pieces = isEverything ? piecesOf(busySpans(window), window.fromMs, window.toMs) : [window];
    view = { ...window, row, left, width, time: layOut(pieces, left, width) };
    const height = AXIS + row * count + 6;
    const ratio = devicePixelRatio || 1;
    canvas.width = wide * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${height}px`;
    draw2d.setTransform(ratio, 0, 0, ratio, 0, 0);
    const color = colors();
    draw2d.font = color.font;
    drawAxis(color, height);
    data.lanes.forEach(({ accountId, bars, state }, i) => {
      const top = AXIS + i * row;
      if (row >= LABELS_FROM) {
        draw2d.fillStyle = color.dim;
        draw2d.textAlign = "left";
        draw2d.fillText(accountId.slice(0, 24), 8, top + row / 2 + 4, left - 14);
      }
      for (const bar of bars) drawWait(color, top, bar);
      for (const bar of bars) drawRun(color, top, bar, state);
    });
    drawNow(color, height);
    empty.hidden = data.lanes.length > 0;
    const [from, to] = [view.fromMs, view.toMs].map((ms) => new Date(ms).toLocaleString("en-GB"));
    const cuts = pieces.length === 1 ? "" : `, gaps cut: ${pieces.length - 1}`;
    canvas.ariaLabel = `Accounts as rows of bars, ${lengthOf(view.toMs - view.fromMs)} from ${from} to ${to}${cuts}`;
  };

  const at = ({ offsetX, offsetY }) => {
    const lane = data.lanes[Math.floor((offsetY - AXIS) / view.row)];
    const ms = view.time.ms(offsetX);
    const slack = 1 / view.time.perMs;
    const bar = lane?.bars.find(
      ([, , started, settled]) => started !== null && started - slack <= ms && ms <= (settled ?? data.nowMs) + slack,
    );
    return { lane, bar };
  };
  canvas.addEventListener("pointermove", (event) => {
    const { lane, bar } = at(event);
    canvas.style.cursor = lane === undefined ? "default" : "pointer";
    if (lane === undefined) hint.innerHTML = said;
    else if (bar === undefined) hint.textContent = `${lane.accountId}: ${lane.state}`;
    else {
      const [seq, received, started, settled, attempts, outcome] = bar;
      hint.textContent = `${lane.accountId}, seq ${seq}: ${outcome ?? lane.state}, waited ${started - received} ms, ran ${(settled ?? data.nowMs) - started} ms, attempts ${attempts}`;
    }
  });

  globalThis.inturnZoom({
    canvas,
    holder,
    shown: () => view,
    whole,
    show(stretch) {
      zoom = stretch;
      draw();
    },
    open(event) {
      const { lane } = at(event);
      if (lane !== undefined) location.href = holder.dataset.account + encodeURIComponent(lane.accountId);
    },
  });

  const isPaused = () => document.querySelector("#pause")?.getAttribute("aria-pressed") === "true";
  const poll = async () => {
    const startedMs = performance.now();
    if (!document.hidden && !isPaused()) {
      try {
        const answer = await fetch(holder.dataset.source);
        if (answer.ok) {
          data = await answer.json();
          draw();
          const bars = data.lanes.reduce((sum, lane) => sum + lane.bars.length, 0);
          document.querySelector("#lanes-count").textContent = `accounts: ${data.lanes.length}, events: ${bars}`;
          holder.dataset.drawn = String(bars);
          document.dispatchEvent(new Event("inturn:news"));
        }
      } catch {
        // The button says when nothing has come for a while.
      }
    }
    setTimeout(poll, Math.max(POLL_MS, 5 * (performance.now() - startedMs)));
  };
  for (const control of document.querySelectorAll("form.filters select")) {
    control.addEventListener("change", () => control.form.requestSubmit());
  }
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  void poll();
})();
