// A slider, a number field and a bar of the gradient for each input.

import { $, brief, make, short } from "./dom.js";

let rows = [];

export function layOut(inputs, point, changed) {
  rows = inputs.map((input, i) => row(input, i, point, changed));
  $("inputs").replaceChildren(...rows.map((each) => each.node));
}

function row(input, i, point, changed) {
  const [low, high] = input.ends;
  const number = make("input", { type: "number", step: "any", id: `number-${i}`, value: String(point[i]), autocomplete: "off" });
  const slider = make("input", { type: "range", min: low, max: high, step: input.step, "aria-label": input.label, id: `slider-${i}` });
  slider.value = point[i];
  const domain = make("div", { className: "domain", hidden: input.domain === null });
  if (input.domain !== null) {
    const part = (end) => (100 * (end - low)) / (high - low);
    domain.style.left = `${part(input.domain[0])}%`;
    domain.style.right = `${100 - part(input.domain[1])}%`;
    domain.title = slider.title = `domain ${short(input.domain[0])} to ${short(input.domain[1])}`;
  }
  const label = make("label", { htmlFor: number.id }, input.label);
  if (input.unit) label.append(make("span", { className: "soft", textContent: ` [${input.unit}]` }));
  const track = make("span", { className: "track" }, make("i", {}), make("i", { className: "b", hidden: true }));
  const slope = make("span", { className: "value" });
  const node = make("div", { className: "input" },
    make("div", { className: "top" }, label, number),
    make("div", { className: "slide" }, domain, slider),
    make("div", { className: "slope" }, slope, track));
  slider.addEventListener("input", () => {
    number.value = slider.value;
    changed(i, Number(slider.value), true);
  });
  slider.addEventListener("change", () => changed(i, Number(slider.value), false));
  number.addEventListener("input", () => {
    const good = input.integer ? Number.isInteger(number.valueAsNumber) : Number.isFinite(number.valueAsNumber);
    number.setAttribute("aria-invalid", String(!good));
    if (!good) return;
    slider.value = number.value;
    changed(i, number.valueAsNumber, false);
  });
  number.addEventListener("blur", () => {
    number.value = String(point[i]); // what is shown, should the field hold no number
    number.setAttribute("aria-invalid", "false");
  });
  return { node, number, slider, slope, track };
}

export function set(i, value) {
  if (document.activeElement !== rows[i].number) rows[i].number.value = String(value);
  rows[i].slider.value = value;
}

export const focus = (i) => rows[i]?.slider.focus();

export function show(inputs, view) {
  const sizes = view.gradient.flatMap((each) => [each.across, each.across_beside]).filter(Number.isFinite);
  const largest = Math.max(...sizes.map(Math.abs), Number.MIN_VALUE);
  rows.forEach(({ node, slope, track }, i) => {
    const gradient = view.gradient[i];
    node.classList.toggle("outside", view.outside.includes(inputs[i].label));
    slope.parentNode.classList.toggle("two", gradient.across_beside !== null);
    slope.parentNode.hidden = gradient.label === "";
    if (gradient.label === "") return;
    const bar = gradient.bar === null ? "" : ` ± ${brief(gradient.bar)}`;
    slope.textContent = `${gradient.label} = ${brief(gradient.value)}${bar}${gradient.unit ? ` ${gradient.unit}` : ""}`;
    [gradient.across, gradient.across_beside].forEach((across, which) => {
      const strip = track.children[which];
      strip.hidden = across === null;
      const half = (50 * Math.abs(across ?? 0)) / largest;
      strip.style.left = `${across < 0 ? 50 - half : 50}%`;
      strip.style.width = `${half}%`;
    });
  });
}
