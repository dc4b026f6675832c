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
  let data = { nowMs: Date.now(), lanes: [] };
  let view = { fromMs: 0, toMs: 1, row: ROW.most, left: 8, width: 0 };

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

  const span = () => {
    const seconds = Number(holder.dataset.seconds);
    const bars = data.lanes.flatMap(({ bars: own }) => own);
    const open = data.lanes.some(({ state }) => state === "running");
    const last = Math.max(0, ...bars.map(([, received, started, settled]) => settled ?? started ?? received));
    const toMs = open ? data.nowMs : seconds === 0 ? last : data.nowMs;
    if (seconds > 0) return { fromMs: toMs - seconds * 1_000, toMs };
    const first = bars.reduce((least, [, received]) => Math.min(least, received), toMs);
    return { fromMs: first, toMs: Math.max(toMs, first + 1_000) };
  };

  const x = (ms) => view.left + ((ms - view.fromMs) / (view.toMs - view.fromMs)) * view.width;

  const drawAxis = (color, height) => {
    const seconds = (view.toMs - view.fromMs) / 1_000;
    const step =
      [1, 2, 5, 10, 30, 60, 120, 300, 600, 3_600, 21_600, 86_400].find((s) => seconds / s <= 12) ?? seconds / 10;
    draw2d.fillStyle = color.dim;
    draw2d.strokeStyle = color.line;
    draw2d.textAlign = "center";
    for (let second = 0; second <= seconds; second += step) {
      const at = Math.round(x(view.fromMs + second * 1_000)) + 0.5;
      draw2d.beginPath();
      draw2d.moveTo(at, AXIS - 6);
      draw2d.lineTo(at, height);
      draw2d.stroke();
      draw2d.fillText(`${Math.round(second)} s`, Math.max(at, 14), 14);
    }
  };

  const drawRect = (fromMs, toMs, middle, tall) => {
    if (x(toMs) < view.left) return;
    const from = Math.max(view.left, x(fromMs));
    const gap = view.row > 6 ? 1 : 0.5;
    draw2d.fillRect(from, middle - tall / 2, Math.max(1, x(toMs) - from - gap), tall);
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
  const drawRun = (color, top, [, , started, settled, , outcome], state) => {
    if (started === null) return;
    if (settled === null) return drawHead(color, top, started, state);
    draw2d.fillStyle = outcome === "dead" ? color.dead : color.run;
    drawRect(started, settled, top + view.row / 2, thickness());
  };

  const draw = () => {
    const count = Math.max(1, data.lanes.length);
    const room = innerHeight * 0.72 - AXIS;
    const row = Math.min(ROW.most, Math.max(ROW.least, Math.floor(room / count)));
    const wide = holder.clientWidth;
    const left = row >= LABELS_FROM ? Math.min(180, wide / 3) : 8;
    view = { ...span(), row, left, width: wide - left - 12 };
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
  };

  const at = ({ offsetX, offsetY }) => {
    const lane = data.lanes[Math.floor((offsetY - AXIS) / view.row)];
    const ms = view.fromMs + ((offsetX - view.left) / view.width) * (view.toMs - view.fromMs);
    const slack = (view.toMs - view.fromMs) / view.width;
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
  canvas.addEventListener("click", (event) => {
    const { lane } = at(event);
    if (lane !== undefined) location.href = holder.dataset.account + encodeURIComponent(lane.accountId);
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
