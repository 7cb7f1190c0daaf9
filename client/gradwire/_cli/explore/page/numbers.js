// The numbers at the point, and what there is to copy.

import { $, brief, make, say } from "./dom.js";

export function show(view) {
  const bars = view.values.some((each) => each.bar !== null) || view.gradient.some((each) => each.bar);
  const two = view.beside !== null;
  const units = [...view.values, ...view.gradient].some((each) => each.unit);
  const columns = ["", `version ${view.version}`, ...(bars ? ["± 95 %"] : []), ...(two ? [`version ${view.beside}`, "difference"] : []), ...(units ? ["unit"] : [])];
  const head = make("tr", {}, ...columns.map((text, i) => make("th", { textContent: text, className: i > 0 && text !== "unit" ? "n" : "" })));
  const rows = [...view.values, ...view.gradient.filter((each) => each.label !== "")].map((each) => make("tr", {},
    make("td", { textContent: each.label }),
    make("td", { textContent: each.value, className: "n a" }),
    ...(bars ? [make("td", { textContent: each.bar ?? "–", className: "n" })] : []),
    ...(two ? [make("td", { textContent: each.beside ?? "–", className: "n b" }), make("td", { textContent: each.difference ?? "–", className: "n" })] : []),
    ...(units ? [make("td", { textContent: each.unit, className: "soft" })] : [])));
  $("numbers").replaceChildren(head, ...rows);
  const key = $("versions-key");
  key.hidden = !two;
  key.replaceChildren(make("span", { className: "key a", textContent: `version ${view.version}` }), ", ",
    make("span", { className: "key b", textContent: `version ${view.beside}` }), ". Difference: the first less the second.");
  $("query").textContent = view.query;
  $("python").textContent = view.python;
}

export function headline(description, view, output) {
  const value = view.values[output];
  $("headline-label").textContent = `${value.label}, version ${view.version}`;
  $("headline-value").textContent = value.value;
  $("headline-bar").textContent = value.bar === null ? "" : `± ${brief(value.bar)}`;
  $("headline-unit").textContent = value.unit;
  $("headline-beside").textContent = view.beside === null || value.beside === null ? "" :
    `version ${view.beside}: ${value.beside}, difference ${value.difference}`;
  const remarks = view.outside.map((label) => `${label} is outside of the domain.`);
  if (view.trusted === false && remarks.length === 0) remarks.push("Far from the samples: the error bar is larger than at nearly all of them.");
  $("remarks").textContent = remarks.join(" ");
}

export async function copy(id) {
  const node = $(id);
  try {
    await navigator.clipboard.writeText(node.textContent);
    say(id === "query" ? "copied the command" : "copied the program");
  } catch {
    getSelection().selectAllChildren(node); // a page that is not of this machine has no clipboard
    say("selected it: copy it with the keys of your system");
  }
}
