// The card and the proof, as tables of text.

import { make } from "./dom.js";

export function tables(parts) {
  return parts.flatMap(({ title, columns, rows, note }) => [
    make("h3", { textContent: title }),
    make("div", { className: "wide" }, make("table", {},
      make("tr", {}, ...columns.map((text) => make("th", { textContent: text }))),
      ...rows.map((row) => make("tr", {}, ...row.map((text) => make("td", { textContent: text, className: ["ok", "WRONG", "WORSE"].includes(text) ? text : "" })))))),
    ...(note ? [make("p", { className: "soft small", textContent: note })] : []),
  ]);
}
