// The output over two inputs, with arrows of its gradient.

import { $, color, make, short, unpack, withUnit } from "./dom.js";

// viridis (van der Walt and Smith, 2015), and a scale from one colour through the paper to the other for differences
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const DIVERGING = [[33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43]];
const EVERY = 4; // numbers of the map for an arrow, the first of them half as far from the border
const MARGIN = { left: 58, right: 10, top: 6, bottom: 58 };

function ramp(colors, part) {
  const place = Math.min(Math.max(part, 0), 1) * (colors.length - 1);
  const i = Math.min(Math.floor(place), colors.length - 2);
  return colors[i].map((channel, k) => Math.round(channel + (place - i) * (colors[i + 1][k] - channel)));
}

export function show(description, view, options, moved) {
  const map = view.map;
  const faces = [];
  if (map !== null) {
    const apart = options.difference && map.difference;
    if (!apart) faces.push(["shown", `version ${view.version}`]);
    if (!apart && map.beside) faces.push(["beside", `version ${view.beside}`]);
    if (apart) faces.push(["difference", `version ${view.version} − version ${view.beside}`]);
  }
  const box = $("maps");
  while (box.children.length > faces.length) box.lastChild.remove();
  while (box.children.length < faces.length) box.append(panel(moved));
  const read = faces.map(([face]) => ({ f: unpack(map[face].f), dx: unpack(map[face].dx), dy: unpack(map[face].dy) }));
  const limits = scale(read, faces[0]?.[0] === "difference");
  faces.forEach(([face, heading], i) => {
    const node = box.children[i];
    node.firstChild.textContent = faces.length > 1 || face === "difference" ? heading : "";
    node.map = { ends: map.ends, x: map.x, y: map.y };
    node.lastChild.setAttribute("aria-label", `${view.values[options.output].label} over ${description.inputs[map.x].label} and ${description.inputs[map.y].label}`);
    draw(node.lastChild, description, map, read[i], limits, options.point, face === "difference");
  });
}

function panel(moved) {
  const canvas = make("canvas", { role: "img" });
  const node = make("div", { className: "map" }, make("h3"), canvas);
  const to = (event, dragging) => {
    const box = canvas.getBoundingClientRect();
    const across = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    const up = 1 - (event.clientY - box.top - MARGIN.top) / (box.height - MARGIN.top - MARGIN.bottom);
    const within = (part, [low, high]) => low + Math.min(Math.max(part, 0), 1) * (high - low);
    const { x, y, ends } = node.map;
    moved([[x, within(across, ends[0])], [y, within(up, ends[1])]], dragging);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") return;
    canvas.setPointerCapture(event.pointerId);
    to(event, true);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) to(event, true);
  });
  canvas.addEventListener("click", (event) => to(event, false));
  return node;
}

function scale(faces, isDifference) {
  let low = Infinity;
  let high = -Infinity;
  for (const { f } of faces) {
    for (const number of f) {
      if (Number.isFinite(number)) {
        low = Math.min(low, number);
        high = Math.max(high, number);
      }
    }
  }
  if (!(low <= high)) return [0, 1];
  if (isDifference) {
    const most = Math.max(-low, high) || 1;
    return [-most, most];
  }
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function draw(canvas, description, map, { f, dx, dy }, [low, high], point, isDifference) {
  const width = canvas.clientWidth || 320;
  const height = Math.round(width * 0.78) + 24;
  const ratio = devicePixelRatio;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const area = { x: MARGIN.left, y: MARGIN.top, w: width - MARGIN.left - MARGIN.right, h: height - MARGIN.top - MARGIN.bottom };
  const colors = isDifference ? DIVERGING : VIRIDIS;
  picture(ctx, area, f, map.side, (number) => ramp(colors, (number - low) / (high - low)));
  const [[x0, x1], [y0, y1]] = map.ends;
  const toX = (x) => area.x + (area.w * (x - x0)) / (x1 - x0);
  const toY = (y) => area.y + area.h * (1 - (y - y0) / (y1 - y0));
  const [across, up] = [description.inputs[map.x], description.inputs[map.y]];
  ctx.save();
  ctx.beginPath();
  ctx.rect(area.x, area.y, area.w, area.h);
  ctx.clip();
  if (across.domain && up.domain) {
    ctx.strokeStyle = isDifference ? "rgba(0, 0, 0, .55)" : "rgba(255, 255, 255, .9)";
    ctx.setLineDash([4, 3]);
    ctx.lineWidth = 1.25;
    ctx.strokeRect(toX(across.domain[0]), toY(up.domain[1]), toX(across.domain[1]) - toX(across.domain[0]), toY(up.domain[0]) - toY(up.domain[1]));
    ctx.setLineDash([]);
  }
  arrows(ctx, area, map, dx, dy, [x1 - x0, y1 - y0], isDifference ? "#1a1f26" : "#ffffff");
  ctx.beginPath();
  ctx.arc(toX(point[map.x]), toY(point[map.y]), 6, 0, 7);
  ctx.fillStyle = "#ff7a1a";
  ctx.fill();
  ctx.lineWidth = 2;
  ctx.strokeStyle = "#ffffff";
  ctx.stroke();
  ctx.restore();
  axes(ctx, area, map.ends, across, up, width);
  bar(ctx, area, height, colors, low, high);
}

function picture(ctx, area, f, side, paint) {
  const image = new ImageData(side, side);
  f.forEach((number, i) => {
    const row = side - 1 - Math.floor(i / side);
    const place = 4 * (row * side + (i % side));
    const [r, g, b] = Number.isFinite(number) ? paint(number) : [128, 128, 128];
    image.data.set([r, g, b, Number.isFinite(number) ? 255 : 60], place);
  });
  const small = new OffscreenCanvas(side, side);
  small.getContext("2d").putImageData(image, 0, 0);
  // The outermost numbers are at the border itself: half a cell of each lies outside.
  const cell = [area.w / (side - 1), area.h / (side - 1)];
  ctx.save();
  ctx.beginPath();
  ctx.rect(area.x, area.y, area.w, area.h);
  ctx.clip();
  ctx.imageSmoothingEnabled = true;
  ctx.drawImage(small, area.x - cell[0] / 2, area.y - cell[1] / 2, area.w + cell[0], area.h + cell[1]);
  ctx.restore();
}

function arrows(ctx, area, map, dx, dy, widths, stroke) {
  const placed = [];
  for (let row = EVERY / 2; row < map.side; row += EVERY) {
    for (let column = EVERY / 2; column < map.side; column += EVERY) {
      const i = row * map.side + column;
      // In pixels: the steepest way up in the picture, whose axes have units of their own.
      const u = (dx[i] * widths[0]) / area.w;
      const v = (dy[i] * widths[1]) / area.h;
      const place = [area.x + (area.w * column) / (map.side - 1), area.y + area.h * (1 - row / (map.side - 1))];
      if (Number.isFinite(u) && Number.isFinite(v)) placed.push([...place, u, v]);
    }
  }
  const most = Math.max(...placed.map(([, , u, v]) => Math.hypot(u, v)), Number.MIN_VALUE);
  const longest = (0.75 * EVERY * Math.min(area.w, area.h)) / (map.side - 1);
  ctx.strokeStyle = ctx.fillStyle = stroke;
  ctx.lineWidth = 1.4;
  ctx.globalAlpha = 0.9;
  for (const [middle, height, u, v] of placed) {
    const size = Math.hypot(u, v);
    if (size === 0) continue;
    const length = longest * Math.sqrt(size / most);
    const [ex, ey] = [(u / size) * length, (-v / size) * length];
    const [x, y] = [middle - ex / 2, height - ey / 2];
    const head = Math.min(5, 0.45 * length);
    const angle = Math.atan2(ey, ex);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x + ex, y + ey);
    for (const turn of [2.6, -2.6]) {
      ctx.moveTo(x + ex, y + ey);
      ctx.lineTo(x + ex + head * Math.cos(angle + turn), y + ey + head * Math.sin(angle + turn));
    }
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

function axes(ctx, area, [[x0, x1], [y0, y1]], across, up, width) {
  ctx.fillStyle = color("soft");
  ctx.font = "12px system-ui, sans-serif";
  ctx.textBaseline = "top";
  for (const [part, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
    ctx.textAlign = align;
    ctx.fillText(short(x0 + part * (x1 - x0)), area.x + part * area.w, area.y + area.h + 5);
  }
  ctx.textAlign = "right";
  for (const [part, line] of [[0, "bottom"], [0.5, "middle"], [1, "top"]]) {
    ctx.textBaseline = line;
    ctx.fillText(short(y0 + part * (y1 - y0)), area.x - 6, area.y + area.h * (1 - part));
  }
  ctx.textBaseline = "top";
  ctx.textAlign = "center";
  ctx.fillStyle = color("ink");
  ctx.fillText(withUnit(across.label, across.unit), area.x + 0.25 * area.w, area.y + area.h + 5, width / 3);
  ctx.save();
  ctx.translate(4, area.y + 0.25 * area.h);
  ctx.rotate(-Math.PI / 2);
  ctx.fillText(withUnit(up.label, up.unit), 0, 0, area.h / 3);
  ctx.restore();
}

function bar(ctx, area, height, colors, low, high) {
  const top = height - 26;
  const shade = ctx.createLinearGradient(area.x, 0, area.x + area.w, 0);
  for (let i = 0; i <= 16; i++) shade.addColorStop(i / 16, `rgb(${ramp(colors, i / 16).join(" ")})`);
  ctx.fillStyle = shade;
  ctx.fillRect(area.x, top, area.w, 8);
  ctx.fillStyle = color("soft");
  ctx.textBaseline = "top";
  for (const [part, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
    ctx.textAlign = align;
    ctx.fillText(short(low + part * (high - low)), area.x + part * area.w, top + 11);
  }
}
