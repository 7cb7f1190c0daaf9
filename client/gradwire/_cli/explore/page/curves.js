// The output along each input: curves by uPlot; domain, samples, tangent and point drawn on top.

/* global uPlot */
import { $, color, make, short, unpack, withUnit } from "./dom.js";

let plots = [];
let held = null; // the scale of the values while somebody drags

const gap = (array) => (array === null ? null : Array.from(array, (number) => (Number.isFinite(number) ? number : null)));

// What is drawn of a curve: arrays on its x, by the choices of the toolbar.
function lines(curve, options, ghost) {
  const read = (face) => face && {
    y: unpack(face[options.what]),
    bar: unpack(face[`${options.what}_bar`]),
  };
  if (options.difference && curve.difference) return { shown: read(curve.difference), beside: null, ghost: null };
  return { shown: read(curve.shown), beside: read(curve.beside), ghost: ghost ? read(ghost.shown) : null };
}

// The scale of y: all curves, and their bars as far as these do not dwarf them (far outside they may be huge).
function range(all) {
  let [low, high] = [Infinity, -Infinity];
  const take = (numbers) => {
    for (const number of numbers ?? []) {
      if (Number.isFinite(number)) [low, high] = [Math.min(low, number), Math.max(high, number)];
    }
  };
  for (const { shown, beside, ghost } of all) [shown.y, beside?.y, ghost?.y].forEach(take);
  if (!(low <= high)) return [-1, 1];
  const height = high - low || Math.abs(high) || 1;
  const [floor, ceiling] = [low - 2 * height, high + 2 * height];
  for (const { shown } of all) {
    if (shown.bar === null) continue;
    for (const sign of [-1, 1]) take(shown.y.map((y, i) => Math.min(Math.max(y + sign * shown.bar[i], floor), ceiling)));
  }
  const room = 0.06 * (high - low || Math.abs(high) || 1);
  return [low - room, high + room];
}

export function show(description, view, options, moved) {
  const at = options.point;
  const all = view.curves.map((curve) => {
    const ghost = options.ghost?.curves.find((each) => each.input === curve.input && each.x === curve.x);
    return { curve, x: unpack(curve.x), samples: curve.samples?.map(unpack) ?? null, ...lines(curve, options, ghost) };
  });
  const whole = range(all);
  if (options.dragging && held !== null) held = [Math.min(held[0], whole[0]), Math.max(held[1], whole[1])];
  else held = whole;
  const key = JSON.stringify([description.name, view.curves.map((curve) => curve.input), options.theme]);
  if (plots.key !== key) build(all, key, moved);
  all.forEach((each, i) => {
    const plot = plots[i];
    plot.state = {
      ...each,
      input: description.inputs[each.curve.input],
      at: at[each.curve.input],
      options,
      scale: options.same && options.what === "f" ? held : range([each]),
    };
    const { shown, beside, ghost } = each;
    const none = new Array(each.x.length).fill(null);
    const edge = (sign) => (shown.bar === null ? none : gap(shown.y.map((y, k) => y + sign * shown.bar[k])));
    plot.chart.setData([each.x, edge(-1), edge(1), gap(ghost?.y ?? null) ?? none, gap(beside?.y ?? null) ?? none, gap(shown.y)]);
    const drawn = options.what === "f" ? view.values[options.output].label : view.gradient[each.curve.input].label;
    plot.title.textContent = title(plot.state, drawn);
    plot.box.setAttribute("aria-label", plot.title.textContent);
  });
  fit();
}

function title({ input, at }, drawn) {
  return `${drawn || "no derivative"} along ${withUnit(input.label, input.unit)}, at ${short(at)}`;
}

function build(all, key, moved) {
  plots.forEach((plot) => plot.chart.destroy());
  plots = all.map((each) => {
    const heading = make("h3");
    const box = make("div", { className: "plot", role: "img" });
    const node = make("div", { className: "curve" }, heading, box);
    const plot = { node, box, title: heading, state: null, chart: null };
    plot.chart = chart(plot, moved, each.curve.input);
    return plot;
  });
  plots.key = key;
  $("curves").replaceChildren(...plots.map((plot) => plot.node));
}

function chart(plot, moved, index) {
  const ink = color("soft");
  const axis = { stroke: ink, grid: { stroke: color("grid"), width: 1 }, ticks: { stroke: color("grid"), width: 1, size: 4 }, font: "12px system-ui, sans-serif", values: (_chart, ticks) => ticks.map(short) };
  const series = (stroke, width, dash) => ({ stroke, width, dash, points: { show: false }, spanGaps: false, pxAlign: 0 });
  const made = new uPlot({
    width: 320,
    height: 224,
    padding: [8, 12, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
    scales: { x: { time: false, range: (_chart, low, high) => [low, high] }, y: { range: () => plot.state?.scale ?? [0, 1] } },
    axes: [{ ...axis, size: 30 }, { ...axis, size: 62 }],
    series: [{}, series("transparent", 0), series("transparent", 0), series(color("ghost"), 1.5, [5, 4]), series(color("b"), 2), series(color("a"), 2)],
    bands: [{ series: [2, 1], fill: color("a-soft") }],
    hooks: { drawClear: [(self) => under(self, plot)], draw: [(self) => over(self, plot)] },
  }, [[0, 1], [null, null], [null, null], [null, null], [null, null], [null, null]], plot.box);
  const to = (event) => {
    const [low, high] = [made.scales.x.min, made.scales.x.max];
    const x = made.posToVal(event.clientX - made.over.getBoundingClientRect().left, "x");
    moved(index, Math.min(Math.max(x, low), high), event.type !== "pointerup" && event.type !== "click");
  };
  made.over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") return;
    made.over.setPointerCapture(event.pointerId);
    to(event);
  });
  made.over.addEventListener("pointermove", (event) => {
    if (made.over.hasPointerCapture(event.pointerId)) to(event);
  });
  made.over.addEventListener("click", to); // the end of a drag, and a tap
  return made;
}

// Below the curves: where the samples were.
function under(self, { state }) {
  if (!state?.input.domain) return;
  const { ctx, bbox } = self;
  const [left, right] = state.input.domain.map((end) => Math.min(Math.max(self.valToPos(end, "x", true), bbox.left), bbox.left + bbox.width));
  ctx.save();
  ctx.fillStyle = color("domain");
  ctx.fillRect(left, bbox.top, right - left, bbox.height);
  ctx.restore();
}

// Above them: samples, the tangent and the point.
function over(self, { state }) {
  if (!state) return;
  const { ctx, bbox } = self;
  const ratio = devicePixelRatio;
  const place = (x, y) => [self.valToPos(x, "x", true), self.valToPos(y, "y", true)];
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const plain = !(state.options.difference && state.curve.difference);
  if (state.samples && state.options.what === "f" && plain) {
    ctx.fillStyle = color("sample");
    const [x, y, near] = state.samples;
    for (let i = 0; i < x.length; i++) {
      if (near[i] < 0.03) break;
      ctx.globalAlpha = 0.12 + 0.75 * near[i];
      ctx.beginPath();
      ctx.arc(...place(x[i], y[i]), 2.2 * ratio, 0, 7);
      ctx.fill();
    }
    ctx.globalAlpha = 1;
  }
  const [low, high] = [state.x[0], state.x[state.x.length - 1]];
  if (state.beside) mark(ctx, place, state, state.curve.beside, state.beside, "b", high - low, ratio);
  mark(ctx, place, state, plain ? state.curve.shown : state.curve.difference, state.shown, "a", high - low, ratio);
  ctx.restore();
}

function mark(ctx, place, state, packed, line, name, width, ratio) {
  const at = state.at;
  const y = interpolate(state.x, line.y, at);
  if (!Number.isFinite(y)) return;
  if (state.options.what === "f") {
    const slope = interpolate(state.x, unpack(packed.df), at);
    if (Number.isFinite(slope)) {
      const reach = 0.22 * width;
      ctx.strokeStyle = color(name === "a" ? "ink" : "b");
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([6 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(...place(at - reach, y - slope * reach));
      ctx.lineTo(...place(at + reach, y + slope * reach));
      ctx.stroke();
      ctx.setLineDash([]);
    }
  }
  ctx.beginPath();
  ctx.arc(...place(at, y), 5 * ratio, 0, 7);
  ctx.fillStyle = color(name);
  ctx.fill();
  ctx.lineWidth = 2 * ratio;
  ctx.strokeStyle = color("panel");
  ctx.stroke();
}

function interpolate(x, y, at) {
  let i = 1;
  while (i < x.length - 1 && x[i] < at) i++;
  const part = (at - x[i - 1]) / (x[i] - x[i - 1]);
  return y[i - 1] + part * (y[i] - y[i - 1]);
}

export function fit() {
  for (const { chart: made, box } of plots) {
    const width = Math.floor(box.clientWidth);
    if (width > 0 && width !== made.width) made.setSize({ width, height: 224 });
  }
}
