"use strict";
// Shared by all parts of the page: the embedded data, the state, and constructors of elements.
// Data enters the page only as text of elements, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const BOUNDS = ["clean", "compromised"];
const state = { table: data.tables[0], sort: null, chosen: [], shown: new Set() };

/** An element; attributes whose name starts with "on" are listeners, children may be strings. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== ""));
  return element;
}

function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const missing = () => make("span", { class: "missing" }, "missing");
const methodsOf = (table) => table.rows.filter((row) => row.role === "unlearned");
const rowOf = (name) => state.table.rows.find((row) => row.model === name);

/** A number with `digits` decimals; never `-0`. */
function fixed(value, digits = 3) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

/** Like `fixed`, but small numbers do not round to zero. */
const fine = (value) => (value !== 0 && Math.abs(value) < 0.0005 ? value.toExponential(0) : fixed(value));
const signed = (value, text = fixed) => (text(value).startsWith("-") ? "" : "+") + text(value);
const percent = (value) => `${fixed(100 * value, 1)}%`;
const times = (value) => `${Number(value.toPrecision(6))}x`;

/** A name that may wrap after an underscore. */
const breakable = (name) => name.split(/(?<=_)/).flatMap((part, at) => (at ? [make("wbr"), part] : [part]));

/** The verdict: an icon and a label for each failure mode. */
function marks(row) {
  return row.marks.map(([kind, words]) =>
    make("span", { class: `mark ${kind}` },
      makeSvg("svg", { "aria-hidden": "true" }, makeSvg("use", { href: `#icon-${kind}` })), make("span", {}, words)));
}

/** A plain table in a scrolling box; `heads` are [text, class], `lines` lists of cells, each starting with its row head. */
function plainTable(caption, heads, lines) {
  const head = make("tr", {}, heads.map(([text, kind], at) =>
    make("th", { scope: "col", class: at === 0 ? `model ${kind}` : kind }, text)));
  const body = lines.map((cells) => make("tr", {}, cells.map((cell, at) =>
    at === 0 ? make("th", { scope: "row" }, make("div", { class: "name" }, breakable(cell))) : make("td", { class: heads[at][1] }, cell))));
  return make("div", { class: "scroll short", role: "region", "aria-label": caption, tabindex: "0" },
    make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, body)));
}

/** A value of the provenance as nested definition lists. */
function nested(value) {
  if (value === null || value === undefined) return missing();
  if (Array.isArray(value)) {
    return value.some((each) => each !== null && typeof each === "object")
      ? make("dl", {}, value.map((each, at) => [make("dt", {}, String(at)), make("dd", {}, nested(each))]).flat())
      : value.length ? value.map((each) => (each === null ? "missing" : String(each))).join(", ") : "none";
  }
  if (typeof value !== "object") return String(value);
  const entries = Object.entries(value);
  if (!entries.length) return "none";
  return make("dl", {}, entries.map(([key, each]) => [make("dt", {}, key.replaceAll("_", " ")),
    make("dd", {}, nested(each))]).flat());
}

/** Opens the dialog with the details of a row. */
function openDetails(row) {
  const lines = data.columns.map((column) => {
    const cell = row.cells[column.key];
    if (!cell) return [column.head, missing(), "", "", ""];
    const [value, away, low, high, least, most, mean] = cell;
    const known = (number) => number !== null && number !== undefined;
    const show = column.group === "sides" ? percent : fixed;
    return [column.head, show(value), known(away) ? `${signed(away)} (${column.bound})` : "",
      known(low) ? `${show(low)} to ${show(high)}` : "",
      known(least) ? `${fixed(mean)} (${fixed(least)} to ${fixed(most)})` : ""];
  });
  const heads = [["metric", "words"], ["value", ""], ["distance to bound", ""], [`${data.level} CI`, ""], ["mean over seeds (range)", ""]];
  const filled = (line) => line.slice(0, lines.some((each) => each[4]) ? 5 : 4); // without seeds, no empty column
  const draw = row.role === "unlearned" && make("button", { type: "button", onclick: () => {
    choose(row.model, true);
    byId("details").close();
    byId("models").scrollIntoView();
  } }, "Plot similarities and training");
  byId("details-body").replaceChildren(
    make("h2", { id: "details-head" }, row.model),
    make("div", {}, marks(row)),
    row.paper ? make("p", { class: "soft" }, `The paper's verdict: ${row.paper}`) : "",
    make("div", { class: "bar" }, make("button", { type: "button", onclick: () => byId("details").close() }, "Close"), draw || ""),
    ...(row.strict ? [make("h3", {}, "Strict verdict"), make("div", {}, marks({ marks: [row.strict] })),
      make("ul", {}, row.failing.map((words) => make("li", {}, words)))] : []),
    make("h3", {}, "Metrics"), plainTable(`Metrics of ${row.model}`, filled(heads), lines.map(filled)),
    make("h3", {}, "Provenance"), nested(row.provenance));
  byId("details").showModal();
  byId("details").scrollTop = 0;
}

/** Fills a select with `values`, after an option for all of them. */
function options(select, all, values) {
  select.replaceChildren(make("option", { value: "" }, all),
    ...values.map(([value, text]) => make("option", { value }, text)));
  select.disabled = values.length === 0;
}

/** Shows a table: the whole page is about this table. */
function show(table) {
  state.table = table;
  state.sort = null;
  state.chosen = methodsOf(table).slice(0, data.first).map((row) => row.model);
  byId("lead").textContent = table.lead;
  showTable();
  showRanks();
  showChoices();
  showExamples();
  redrawAll();
}

document.addEventListener("DOMContentLoaded", () => {
  byId("pick-table").addEventListener("change", (event) => show(data.tables[event.target.value]));
  byId("details").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) event.target.close();
  });
  setUpTable();
  setUpCharts();
  show(data.tables[0]);
});
