/** How a stretch of time is chosen in the lanes: by buttons, by keys, and by pulling over it. */
(() => {
  const MS_LEAST = 20;
  /** A pull is longer than a shaky click, in pixels. */
  const PULL_LEAST = 6;

  /** `shown` and `whole` give what is seen and all there is; `show` draws a stretch, null for all; `open` is a click. */
  globalThis.inturnZoom = ({ canvas, holder, shown, whole, show, open }) => {
    const showFrom = (fromMs, ms) => {
      const all = whole();
      const length = Math.max(MS_LEAST, ms);
      if (length >= all.toMs - all.fromMs) return show(null);
      const start = Math.max(all.fromMs, Math.min(fromMs, all.toMs - length));
      return show({ fromMs: start, toMs: start + length });
    };
    const zoomBy = (part) => {
      const { fromMs, toMs } = shown();
      const ms = (toMs - fromMs) * part;
      showFrom((fromMs + toMs - ms) / 2, ms);
    };
    const moveBy = (part) => {
      const { fromMs, toMs } = shown();
      showFrom(fromMs + (toMs - fromMs) * part, toMs - fromMs);
    };
    const zoomIn = () => zoomBy(0.5);
    const zoomOut = () => zoomBy(2);
    const showAll = () => show(null);
    document.querySelector("#zoom-in").addEventListener("click", zoomIn);
    document.querySelector("#zoom-out").addEventListener("click", zoomOut);
    document.querySelector("#zoom-all").addEventListener("click", showAll);
    const keys = new Map([
      ["+", zoomIn],
      ["-", zoomOut],
      ["0", showAll],
      ["ArrowLeft", () => moveBy(-0.25)],
      ["ArrowRight", () => moveBy(0.25)],
    ]);
    holder.addEventListener("keydown", (event) => {
      const act = keys.get(event.key);
      if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });

    let pressedAt = null;
    canvas.addEventListener("pointerdown", (event) => {
      pressedAt = event.button === 0 ? event.offsetX : null;
    });
    canvas.addEventListener("pointerup", (event) => {
      if (pressedAt === null) return;
      const [from, to] = [pressedAt, event.offsetX].toSorted((a, b) => a - b);
      pressedAt = null;
      if (to - from <= PULL_LEAST) return open(event);
      const { time } = shown();
      showFrom(time.ms(from), time.ms(to) - time.ms(from));
    });
  };
})();
