// The curves of all runs, as SVG.

// key: a column of metrics.jsonl. Of several in a panel each has a dash of its own.
const PANELS = [
  {
    title: "Accuracy: held out with 95 % interval; training thin",
    unit: "share right",
    range: [0, 1],
    series: [
      { key: "eval_accuracy", interval: "eval_accuracy_ci", name: "held out" },
      { key: "accuracy", name: "training", thin: true },
    ],
  },
  { title: "Reward, mean", unit: "reward", series: [{ key: "reward", name: "reward" }] },
  {
    title: "Response length: right solid, wrong dashed, all dotted",
    unit: "tokens",
    series: [
      { key: "length_right", name: "right" },
      { key: "length_wrong", name: "wrong", dash: "6 4" },
      { key: "length", name: "all", dash: "1 3" },
    ],
  },
  { title: "Entropy", unit: "nats per token", series: [{ key: "entropy", name: "entropy" }] },
  {
    title: "KL: to the teacher solid, to the reference dashed",
    unit: "nats per token",
    series: [
      { key: "teacher_kl", name: "to the teacher" },
      { key: "kl", name: "to the reference", dash: "6 4" },
    ],
  },
  {
    title: "Truncated responses",
    unit: "share",
    range: [0, 1],
    series: [{ key: "truncated", name: "truncated" }],
  },
  {
    title: "Groups of equal rewards",
    unit: "share",
    range: [0, 1],
    series: [{ key: "equal_groups", name: "equal" }],
  },
  {
    title: "Gap of log-probs, sampler and trainer: largest solid, mean dashed",
    unit: "nats",
    series: [
      { key: "logprob_gap_max", name: "largest" },
      { key: "logprob_gap_mean", name: "mean", dash: "6 4" },
    ],
  },
  { title: "Gradient norm", unit: "norm", series: [{ key: "grad_norm", name: "norm" }] },
  {
    title: "Seconds of a step: sampling solid, update dashed, grading dotted, all thin",
    unit: "seconds",
    series: [
      { key: "seconds_sample", name: "sampling" },
      { key: "seconds_update", name: "update", dash: "6 4" },
      { key: "seconds_reward", name: "grading", dash: "1 3" },
      { key: "seconds", name: "all", thin: true },
    ],
  },
];
const RUN_COLOURS = 6; // in style.css; a run has a number beside its colour
const WIDTH = 380;
const HEIGHT = 210;
const EDGE = { left: 64, right: 22, top: 10, bottom: 34 };

function svg(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== "") made.textContent = text;
  return made;
}

function runColour(number) {
  return `var(--run-${number % RUN_COLOURS})`;
}

// The points of a column: {step, value, low, high}, of the steps at which it has a value.
function pointsOf(run, series) {
  const column = run.metrics[series.key] || [];
  const intervals = run.metrics[series.interval] || [];
  const points = [];
  column.forEach((value, i) => {
    if (typeof value !== "number") return;
    const [low, high] = intervals[i] || [null, null];
    points.push({ step: run.metrics.step[i], value, low, high });
  });
  return points;
}

// About five round numbers from low to high.
function ticks(low, high) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let i = Math.ceil(low / size); i * size <= high + size * 1e-9; i++) found.push(i * size);
  return found;
}

// A panel as a figure; null if no run has anything to draw there.
function panelOf(panel, runs) {
  const drawn = [];
  runs.forEach((run, number) => {
    for (const series of panel.series) {
      const points = pointsOf(run, series);
      if (points.length) drawn.push({ run, number, series, points });
    }
  });
  if (!drawn.length) return null;
  const all = drawn.flatMap(({ points }) => points);
  const steps = [Math.min(...all.map((p) => p.step)), Math.max(...all.map((p) => p.step))];
  const values = panel.range || [
    Math.min(0, ...all.map((p) => p.value)),
    Math.max(...all.map((p) => p.value)),
  ];
  const across = (step) => place(step, steps, EDGE.left, WIDTH - EDGE.right);
  const up = (value) => place(value, values, HEIGHT - EDGE.bottom, EDGE.top);

  const figure = element("figure");
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  picture.setAttribute("aria-label", panel.title);
  drawAxes(picture, panel, steps, values, across, up);
  drawWarnings(picture, runs, across, steps);
  for (const line of drawn) drawLine(picture, line, across, up, runs.length > 1);
  const readout = element("div", "readout");
  addPointer(picture, readout, drawn, steps, across);
  figure.append(element("figcaption", "", panel.title), picture, readout);
  return figure;
}

// Where a value of a range stands between two pixels.
function place(value, [low, high], first, last) {
  if (high === low) return (first + last) / 2;
  return first + ((value - low) / (high - low)) * (last - first);
}

function drawAxes(picture, panel, steps, values, across, up) {
  const floor = HEIGHT - EDGE.bottom;
  for (const value of ticks(...values)) {
    const y = up(value);
    picture.append(svg("line", { class: "grid", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y, y2: y }));
    picture.append(svg("text", { x: EDGE.left - 5, y: y + 4, "text-anchor": "end" }, short(value)));
  }
  for (const step of ticks(...steps).filter(Number.isInteger)) {
    const x = across(step);
    picture.append(svg("line", { class: "axis", x1: x, x2: x, y1: floor, y2: floor + 4 }));
    picture.append(svg("text", { x, y: floor + 16, "text-anchor": "middle" }, step));
  }
  picture.append(
    svg("line", { class: "axis", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: floor, y2: floor }),
    svg("text", { x: (EDGE.left + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "step"),
  );
  const turned = `translate(11 ${(EDGE.top + floor) / 2}) rotate(-90)`;
  picture.append(svg("text", { transform: turned, "text-anchor": "middle" }, panel.unit));
}

function drawWarnings(picture, runs, across, [first, last]) {
  for (const { step, text } of runs.flatMap((run) => run.warnings)) {
    if (step < first || step > last) continue;
    const x = across(step);
    const line = svg("line", { class: "warning", x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
    line.append(svg("title", {}, `step ${step}: ${text}`));
    picture.append(line);
  }
}

function drawLine(picture, { number, series, points }, across, up, several) {
  const colour = runColour(number);
  const path = points.map((p, i) => `${i ? "L" : "M"}${across(p.step)} ${up(p.value)}`).join("");
  const curve = svg("path", { class: series.thin ? "curve thin" : "curve", d: path, stroke: colour });
  if (series.dash) curve.setAttribute("stroke-dasharray", series.dash);
  picture.append(curve);
  for (const p of points) {
    if (!series.interval && points.length > 1) break;
    const x = across(p.step);
    picture.append(svg("circle", { cx: x, cy: up(p.value), r: 3, fill: colour }));
    if (p.low === null) continue;
    picture.append(svg("line", { x1: x, x2: x, y1: up(p.low), y2: up(p.high), stroke: colour }));
  }
  if (several) {
    const end = points[points.length - 1];
    const where = { class: "series-name", x: across(end.step) + 5, y: up(end.value) + 4 };
    picture.append(svg("text", where, number + 1));
  }
}

// The values at the step under the pointer; without a pointer those of the last step.
function addPointer(picture, readout, drawn, [first, last], across) {
  const line = svg("line", { class: "pointer", y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
  line.setAttribute("visibility", "hidden");
  picture.append(line);

  function show(step) {
    const parts = [];
    for (const { run, number, series, points } of drawn) {
      const p = nearest(points, step);
      const name = data.runs.length > 1 ? `${number + 1} ${series.name}` : series.name;
      const interval = p.low === null ? "" : ` [${short(p.low)}, ${short(p.high)}]`;
      const at = p.step === step ? "" : ` (step ${p.step})`;
      parts.push(`${name} ${short(p.value)}${interval}${at}`);
    }
    readout.textContent = `step ${step}: ${parts.join("; ")}`;
  }

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const wanted = place(x, [EDGE.left, WIDTH - EDGE.right], first, last);
    const step = nearest(drawn.flatMap(({ points }) => points), wanted).step;
    line.setAttribute("x1", across(step));
    line.setAttribute("x2", across(step));
    line.setAttribute("visibility", "visible");
    show(step);
  });
  picture.addEventListener("pointerleave", () => {
    line.setAttribute("visibility", "hidden");
    show(last);
  });
  show(last);
}

function nearest(points, step) {
  let best = points[0];
  for (const p of points) {
    if (Math.abs(p.step - step) < Math.abs(best.step - step)) best = p;
  }
  return best;
}

function showCurves() {
  const runs = data.runs.filter((run) => run.metrics.step);
  byId("curves").hidden = runs.length === 0;
  const panels = PANELS.map((panel) => panelOf(panel, runs)).filter((figure) => figure !== null);
  fill(byId("panels"), ...panels);
  if (runs.length > 1) {
    const names = runs.map((run, number) => {
      const entry = element("span");
      const line = svg("svg", { width: 30, height: 10 });
      const stroke = { x1: 0, x2: 30, y1: 5, y2: 5, "stroke-width": 3, stroke: runColour(number) };
      line.append(svg("line", stroke));
      entry.append(line);
      appendText(entry, ` ${number + 1} ${run.name}`);
      return entry;
    });
    fill(byId("curves-legend"), ...names);
  }
  const told = runs.flatMap((run) =>
    run.warnings.map(({ step, text }) => element("li", "", `${run.name}, step ${step}: ${text}`)),
  );
  fill(byId("warnings"), ...told.slice(0, 20));
}
