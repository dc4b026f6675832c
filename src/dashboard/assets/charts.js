/** The charts of the overview: drawn from the readings that came with the page, and moved on by every new one. */
(() => {
  const POINTS_MAX = 600;
  const HEIGHT = 150;
  const holder = document.querySelector("#charts");
  if (holder === null) return;
  const points = JSON.parse(holder.dataset.points ?? "[]");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colorOf = (name) => {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    holder.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };

  /** One line solid, the other dashed: colour alone tells them apart for few. */
  const CHARTS = [
    {
      id: "rates",
      series: [
        { label: "received", column: 1, color: "--warn", dash: [6, 4] },
        { label: "settled", column: 2, color: "--accent" },
      ],
    },
    { id: "backlog", series: [{ label: "backlog", column: 3, color: "--accent" }] },
    {
      id: "waits",
      series: [
        { label: "p50", column: 4, color: "--accent" },
        { label: "p95", column: 5, color: "--bad", dash: [6, 4] },
      ],
    },
  ];
  const columnsOf = (series) => [
    points.map((point) => point[0]),
    ...series.map(({ column }) => points.map((point) => point[column])),
  ];
  const short = (value) => Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);

  const timeOf = (second) => new Date(second * 1_000).toLocaleTimeString("en-GB");

  const create = ({ id, series }) => {
    const place = document.querySelector(`#chart-${id}`);
    const axis = { stroke: colorOf("--dim"), grid: { stroke: colorOf("--line"), width: 1 }, ticks: { show: false } };
    const plot = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT,
        cursor: { y: false },
        scales: {
          // One reading alone has no length: the seconds before it are shown.
          x: { range: (_plot, least, most) => (least === most ? [most - 10, most] : [least, most]) },
          y: { range: (_plot, _least, most) => [0, Math.max(1, (most ?? 0) * 1.1)] },
        },
        axes: [
          { ...axis, space: 80, values: (_plot, ticks) => ticks.map(timeOf) },
          { ...axis, size: 52, values: (_plot, ticks) => ticks.map(short) },
        ],
        series: [
          {
            label: "time",
            value: (shownPlot, second) => {
              const shown = second ?? shownPlot.data[0].at(-1);
              return shown === undefined ? "no reading yet" : timeOf(shown);
            },
          },
          ...series.map(({ label, color, dash }) => ({
            label,
            stroke: colorOf(color),
            width: 2,
            dash,
            points: { show: false },
            // Where nobody points at the chart, the last reading.
            value: (shownPlot, value, column, index) => {
              const shown = index === null ? shownPlot.data[column].at(-1) : value;
              return shown === null || shown === undefined ? "none" : short(shown);
            },
          })),
        ],
      },
      columnsOf(series),
      place,
    );
    return { plot, series, place };
  };
  let charts = CHARTS.map(create);

  document.querySelector("#stream")?.addEventListener("point", (event) => {
    points.push(...JSON.parse(event.detail.data));
    if (points.length > POINTS_MAX) points.splice(0, points.length - POINTS_MAX);
    for (const { plot, series } of charts) plot.setData(columnsOf(series));
    holder.dataset.count = String(points.length);
  });
  addEventListener("resize", () => {
    for (const { plot, place } of charts) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  });
  dark.addEventListener("change", () => {
    for (const { plot } of charts) plot.destroy();
    charts = CHARTS.map(create);
  });
})();
