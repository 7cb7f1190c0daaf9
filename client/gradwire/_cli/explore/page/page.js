// What is shown, and when it is asked for anew.

import { tables } from "./card.js";
import * as controls from "./controls.js";
import * as curves from "./curves.js";
import { $, fill, make, say, short } from "./dom.js";
import * as map from "./map.js";
import * as numbers from "./numbers.js";
import { get, post } from "./server.js";

const POLL = 1000; // milliseconds between two looks at the versions
const SLOW = 400; // milliseconds after which a view is said to be under way
const OTHER = "other label"; // the entry of the list of versions that asks for a label

const state = {
  model: "", at: "newest", beside: "", output: 0, what: "f", difference: false, same: true, map: null, mapOn: true,
  point: [], labels: [], description: null, view: null, ghost: null, status: null, dragging: false, theme: 0, lost: "",
};
let slow = 0; // the timer of a view that is under way
let wanted = false;
let busy = false;

const pair = () => (state.mapOn ? state.map : null);
const options = () => ({ ...state, point: state.point });

// One view is under way at a time, and the last one that was wanted is always shown.
async function refresh() {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted && state.description !== null) {
    wanted = false;
    try {
      const asked = [...state.point];
      slow = setTimeout(() => {
        document.body.classList.add("waiting");
        $("latency").textContent = "waiting…";
      }, SLOW);
      const view = await post("/api/view", { model: state.model }, {
        at: state.at, beside: state.beside, output: state.output, point: state.point, map: pair(),
      });
      if (view.version !== state.description.version) {
        busy = false;
        await swapped();
        return;
      }
      found();
      show(view, asked);
      $("latency").textContent = latency(view.calls);
    } catch (error) {
      lost(error);
    } finally {
      clearTimeout(slow);
      document.body.classList.remove("waiting");
    }
    await new Promise(requestAnimationFrame);
  }
  busy = false;
}

function show(view, asked) {
  state.view = view;
  const shown = { ...options(), point: asked };
  document.body.classList.toggle("two", view.beside !== null); // before plots measure their places
  controls.show(state.description.inputs, view);
  numbers.headline(state.description, view, state.output);
  numbers.show(view);
  curves.show(state.description, view, shown, (i, x, dragging) => moveTo([[i, x]], dragging));
  map.show(state.description, view, shown, moveTo);
  document.body.dataset.shown = JSON.stringify([view.version, asked]);
}

function latency(calls) {
  const one = calls[0];
  const rows = calls.find((call) => call.rows > 1);
  const text = `1 row ${short(Number(one.milliseconds.toPrecision(2)))} ms`;
  return rows ? `${text} · ${rows.rows} rows ${short(Number(rows.milliseconds.toPrecision(2)))} ms` : text;
}

// Where a plot was clicked, to the step of the slider.
function moveTo(places, dragging) {
  for (const [i, x] of places) {
    const { step } = state.description.inputs[i];
    const value = Number((Math.round(x / step) * step).toPrecision(12));
    state.point[i] = value;
    controls.set(i, value);
  }
  changed(dragging);
}

function changed(dragging) {
  state.dragging = dragging;
  state.ghost = null; // it was of another point
  refresh();
}

// A version comes in the place of another: the old curves stay as a ghost until something is moved.
async function swapped() {
  const before = state.view;
  const old = before?.values[state.output];
  if (!(await describe())) return;
  if (before !== null && before.version !== state.description.version) state.ghost = before;
  await refresh();
  const now = state.view?.values[state.output];
  if (old && now && before.version !== state.view.version) {
    const change = Number(now.value) - Number(old.value);
    say(`version ${state.view.version} in the place of version ${before.version}: ${now.label} changed by ${short(change)}`);
  }
}

async function describe() {
  try {
    const fresh = await get("/api/describe", { model: state.model, at: state.at });
    const old = state.description;
    const same = old !== null && JSON.stringify(old.inputs.map((each) => each.label)) === JSON.stringify(fresh.inputs.map((each) => each.label));
    const kept = same && JSON.stringify(old.inputs) === JSON.stringify(fresh.inputs); // a slider may be under the mouse
    state.description = fresh;
    if (!same) {
      state.point = fresh.inputs.map((each) => each.start);
      const free = fresh.inputs.map((_, i) => i).filter((i) => !fresh.inputs[i].integer);
      state.map = free.length > 1 ? [free[0], free[1]] : null;
    }
    state.output = Math.min(state.output, fresh.outputs.length - 1);
    layOut(kept);
    card();
    return true;
  } catch (error) {
    lost(error);
    return false;
  }
}

function layOut(kept) {
  const { name, inputs, outputs, fixed, no_bars: noBars, samples, most_curves: most } = state.description;
  document.title = `${name} · gradwire explore`;
  $("name").textContent = name;
  if (!kept) controls.layOut(inputs, state.point, (i, value, dragging) => {
    state.point[i] = value;
    changed(dragging);
  });
  fill($("output"), outputs.map((each, i) => [String(i), each.label]), String(state.output));
  const free = inputs.map((each, i) => [String(i), each.label]).filter(([i]) => !inputs[i].integer);
  $("map-section").hidden = state.map === null;
  if (state.map !== null) {
    fill($("map-x"), free, String(state.map[0]));
    fill($("map-y"), free, String(state.map[1]));
  }
  const notes = ["Bars: how far the output would go across each domain at the slope of the point."];
  if (fixed > 0) notes.push(`${fixed} more elements stay in the middle of their domain.`);
  $("bars-note").textContent = notes.join(" ");
  const legend = ["Shaded: the domain of the samples. Dashed: the tangent.", noBars ? `${noBars[0].toUpperCase()}${noBars.slice(1)}.` : "Band: the 95 % error bar."];
  if (samples !== null) legend.push(`Dots: ${samples}, fainter the further they are from the curve in the other inputs.`);
  if (free.length > most) legend.push(`Curves along the first ${most} inputs.`);
  $("legend").textContent = legend.join(" ");
}

async function card() {
  try {
    const { tables: parts } = await get("/api/card", { model: state.model, at: state.at });
    $("card-tables").replaceChildren(...tables(parts));
  } catch (error) {
    lost(error);
  }
}

function lost(error) {
  const word = error.kind === "Ended" ? "ended" : error.isGone ? "gone" : "refused";
  const banner = $("banner");
  // A server that is gone is told by polls and views, in changing words: the first will do.
  if (word !== state.lost || word === "refused") {
    banner.textContent = word === "gone" ? `${error.message}. The page goes on when it is back.` : error.message;
  }
  banner.hidden = false;
  document.body.classList.toggle("gone", word !== "refused");
  if (word === "gone" && state.lost !== "gone") say("the server does not respond; the page waits for it");
  state.lost = word;
}

function found() {
  if (state.lost === "gone" || state.lost === "ended") say("the server responds again");
  state.lost = "";
  $("banner").hidden = true;
  $("banner").textContent = "";
  document.body.classList.remove("gone");
}

async function poll() {
  try {
    const label = state.at.startsWith("label:") ? state.at.slice(6) : "";
    const status = await get("/api/status", { model: state.model, label });
    if (!status.reachable) lost({ message: status.error, isGone: true });
    else await react(status, label);
  } catch (error) {
    lost(error);
  }
  setTimeout(poll, POLL);
}

async function react(status, label) {
  const known = state.status;
  state.status = status;
  for (const { version, state: word, error } of status.versions) {
    const before = known?.versions.find((each) => each.version === version);
    if (known !== null && before?.state !== word) say(`version ${version}: ${word}${error ? `, ${error}` : ""}`);
  }
  choices();
  if (state.lost === "gone" || state.lost === "ended" || state.description === null) {
    if (await describe()) await refresh();
    return;
  }
  const meant = state.at === "newest" ? status.newest : label ? status.labelled : null;
  if (meant !== null && meant !== state.description.version) await swapped();
  else if (state.lost !== "") await refresh(); // what was refused may be there by now
}

function choices() {
  const versions = state.status?.versions ?? [];
  const numbered = versions.filter((each) => each.state === "AVAILABLE").map((each) => [String(each.version), `version ${each.version}`]);
  const labels = state.labels.map((label) => [`label:${label}`, label]);
  const own = [state.at, state.beside].filter((each) => /^\d+$/.test(each) && !numbered.some(([key]) => key === each));
  const all = [...numbered, ...own.map((each) => [each, `version ${each}`]), ...labels];
  fill($("at"), [["newest", `newest${state.status?.newest ? ` (${state.status.newest})` : ""}`], ...all, [OTHER, "by a label…"]], state.at);
  fill($("beside"), [["", "nothing"], ...all], state.beside);
  $("beside").classList.toggle("on", state.beside !== "");
  $("faces").hidden = state.beside === "";
  const alive = versions.filter((each) => each.state !== "END" || each.error); // a server remembers all that it ever had
  $("versions").replaceChildren(...alive.map(({ version, state: word, error }) => {
    const moving = ["START", "LOADING", "UNLOADING"].includes(word);
    const kind = version === state.view?.version ? "shown" : version === state.view?.beside ? "beside" : error ? "failed" : moving ? "moving" : "";
    return make("li", { className: kind, title: error, textContent: word === "AVAILABLE" ? `version ${version}` : `version ${version} ${word.toLowerCase()}` });
  }));
}

async function choose(at) {
  if (at === OTHER) {
    $("label-form").hidden = false;
    $("label-text").focus();
    choices();
    return;
  }
  state.at = at;
  state.ghost = null;
  if (await describe()) await refresh();
  choices();
}

function listen() {
  $("model").addEventListener("change", async () => {
    Object.assign(state, { model: $("model").value, at: "newest", beside: "", output: 0, description: null, view: null, status: null, ghost: null });
    if (await describe()) await refresh();
  });
  $("at").addEventListener("change", () => choose($("at").value));
  $("beside").addEventListener("change", async () => {
    state.beside = $("beside").value;
    state.difference = state.difference && state.beside !== "";
    document.querySelector(`[name=face][value=${state.difference ? "difference" : "both"}]`).checked = true;
    choices();
    await refresh();
    choices();
  });
  $("output").addEventListener("change", () => {
    state.output = Number($("output").value);
    changed(false);
  });
  $("label-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const label = $("label-text").value.trim();
    $("label-form").hidden = true;
    if (label === "") return;
    if (!state.labels.includes(label)) state.labels.push(label);
    choose(`label:${label}`);
    $("at").focus();
  });
  for (const radio of document.querySelectorAll("[name=what]")) radio.addEventListener("change", () => set({ what: radio.value }));
  for (const radio of document.querySelectorAll("[name=face]")) radio.addEventListener("change", () => set({ difference: radio.value === "difference" }));
  $("same").addEventListener("change", () => set({ same: $("same").checked }));
  $("map-on").addEventListener("change", () => {
    state.mapOn = $("map-on").checked;
    refresh();
  });
  for (const id of ["map-x", "map-y"]) {
    $(id).addEventListener("change", () => {
      const chosen = [Number($("map-x").value), Number($("map-y").value)];
      if (chosen[0] === chosen[1]) chosen[id === "map-x" ? 1 : 0] = state.map[id === "map-x" ? 0 : 1]; // they change places
      state.map = chosen;
      fill($("map-x"), [...$("map-x").options].map((each) => [each.value, each.textContent]), String(chosen[0]));
      fill($("map-y"), [...$("map-y").options].map((each) => [each.value, each.textContent]), String(chosen[1]));
      refresh();
    });
  }
  $("middle").addEventListener("click", middle);
  $("verify").addEventListener("click", prove);
  $("help-button").addEventListener("click", () => $("help").showModal());
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => numbers.copy(button.dataset.copy));
  addEventListener("keydown", keys);
  addEventListener("resize", () => again());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => set({ theme: state.theme + 1 }));
}

function set(change) {
  Object.assign(state, change, { dragging: false });
  again();
}

function again() {
  if (state.view !== null) show(state.view, JSON.parse(document.body.dataset.shown)[1]);
}

function middle() {
  state.description.inputs.forEach((each, i) => {
    state.point[i] = each.start;
    controls.set(i, each.start);
  });
  changed(false);
}

async function prove() {
  const button = $("verify");
  button.disabled = true;
  $("proof").replaceChildren(make("p", { className: "soft", textContent: "verifying…" }));
  try {
    const proof = await post("/api/verify", { model: state.model, at: state.at }, {});
    const verdict = proof.passed ? "every check passed" : "a check FAILED";
    $("proof").replaceChildren(make("p", { className: proof.passed ? "ok" : "WRONG", textContent: `Version ${proof.version}: ${verdict}.` }), ...tables(proof.tables));
  } catch (error) {
    $("proof").replaceChildren(make("p", { className: "WRONG", textContent: error.message }));
  }
  button.disabled = false;
}

const KEYS = {
  v: () => $("at").focus(), c: () => $("beside").focus(), o: () => $("output").focus(), r: middle,
  d: () => document.querySelector("[name=what]:not(:checked)").click(),
  b: () => $("faces").hidden || document.querySelector("[name=face]:not(:checked)").click(),
  s: () => $("same").click(), m: () => $("map-section").hidden || $("map-on").click(),
  q: () => numbers.copy("query"), p: () => numbers.copy("python"), "?": () => $("help").showModal(),
};

function keys(event) {
  const { target } = event;
  const types = target.matches("input:not([type=range], [type=radio], [type=checkbox]), select, textarea");
  if (types || event.ctrlKey || event.metaKey || event.altKey || $("help").open || state.description === null) return;
  if (/^[1-9]$/.test(event.key)) controls.focus(Number(event.key) - 1);
  else if (event.key in KEYS) KEYS[event.key]();
  else return;
  event.preventDefault();
}

async function start() {
  listen();
  for (;;) {
    try {
      const { where, models } = await get("/api/models", {});
      $("where").textContent = where;
      fill($("model"), models.map((name) => [name, name]), models[0] ?? "");
      $("model-choice").hidden = models.length < 2;
      state.model = models[0] ?? "";
      if (models.length > 0) break;
      lost({ message: "the server has no model yet", isGone: true });
    } catch (error) {
      lost(error);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
  if (await describe()) {
    state.at = state.description.first;
    if (state.at.startsWith("label:")) state.labels.push(state.at.slice(6));
    if (state.at !== "newest") await describe();
    await refresh();
  }
  choices();
  poll();
}

start();
