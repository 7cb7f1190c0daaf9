// Elements, numbers and colours. Text reaches the page through textContent alone.

export const $ = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export function fill(select, entries, value) {
  const same = select.options.length === entries.length &&
    entries.every(([key, text], i) => select.options[i].value === key && select.options[i].textContent === text);
  if (!same) select.replaceChildren(...entries.map(([key, text]) => make("option", { value: key, textContent: text })));
  // Not under the fingers of somebody who is choosing.
  if (select.value !== value && !(same && document.activeElement === select)) select.value = value;
}

export const withUnit = (label, unit) => (unit ? `${label} [${unit}]` : label);

export function short(number) {
  if (!Number.isFinite(number)) return String(number);
  const size = Math.abs(number);
  if (number !== 0 && (size < 1e-4 || size >= 1e6)) return number.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(number.toPrecision(4)));
}

// The same of text from Python, which has words for infinities.
export const brief = (text) => (Number.isFinite(Number(text)) ? short(Number(text)) : text);

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function unpack(text) {
  if (text === null) return null;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Float64Array(bytes.buffer);
}

export function say(text) {
  const clock = new Date().toTimeString().slice(0, 8);
  const events = $("events");
  $("happened").hidden = false;
  events.prepend(make("li", { textContent: `${clock}  ${text}` }));
  while (events.children.length > 8) events.lastChild.remove();
}
