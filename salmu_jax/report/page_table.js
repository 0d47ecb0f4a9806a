// The leaderboard: columns, rows, sorting, filters; then the ranks and the seeds.

const GROUPS = {
  sides: "Shares",
  efficacy: "Efficacy: down to Clean's value",
  utility: "Utility: keep Compromised's value",
  facts: "Facts and retrieval",
  details: "Facts and retrieval (all variants)",
  recoverability: "Recoverability (attacks): to Clean's value",
  run: "Run",
};
const HIDDEN_AT_FIRST = ["run", "details"];
const HINTS = { lower: "down to Clean", higher: "up to Compromised", floor: "\u2265 Compromised", equal: "equal to Clean" };
const LINES = { away: "distance to bound", interval: `${data.level} CI`, seeds: "range over seeds" };
const RUN = {
  method: ["method", (row) => row.method],
  seed: ["seed", (row) => row.seed],
  steps: ["steps", (row) => row.steps, (value) => value.toLocaleString("en")],
  wall_seconds: ["seconds", (row) => row.wall_seconds, (value) => fixed(value, 0)],
  device: ["device", (row) => row.device],
};
const TEXT = ["model", "method", "device"];
/** Where the settings of a run come from. */
const TUNING = { tuned: "tuned by the search", reproduction: "as published", own: "own" };

/** Every column: key, group, head, hint, initial sort direction, and the value and the cell of a row. */
function columnsOf() {
  const numbers = data.columns.map((column) => ({
    ...column,
    hint: column.bound ? HINTS[column.better] : column.better === "lower" ? "lower is better" : "higher is better",
    descending: column.better !== "lower",
    value: (row) => row.cells[column.key]?.[0] ?? null,
    cell: (row) => numberCell(row.cells[column.key], column),
  }));
  const run = Object.entries(RUN).map(([key, [head, value, text = String]]) => ({
    key, group: "run", head, hint: "", descending: false, value, words: TEXT.includes(key),
    cell: (row) => {
      const found = value(row);
      return found === null || found === undefined ? absent(row, key) : text(found);
    },
  }));
  const order = (row) => state.table.rows.indexOf(row) + (row.source === "published" ? 1e6 : 0);
  return [
    { key: "model", head: "Model", hint: "", descending: false, words: true, value: (row) => row.model, cell: modelCell },
    { key: "verdict", head: "Verdict", hint: "best first", descending: false, words: true, value: order, cell: verdictCell },
    { key: "strict", head: "Strict verdict", hint: "clauses failed", descending: false, words: true,
      value: (row) => row.failing?.length ?? null, cell: strictCell },
    { key: "budget", head: "Budget", hint: "passes over forget", descending: false, value: (row) => row.budget ?? null,
      cell: (row) => (row.budget === null ? (BOUNDS.includes(row.role) ? "" : missing()) : times(row.budget)) },
    ...numbers, ...run,
  ];
}

/** A bound has no method; for published models the run is unknown. */
const absent = (row, key) => (key === "method" && BOUNDS.includes(row.role) ? "" : missing());

function numberCell(cell, column) {
  if (!cell) return missing();
  const [value, away, low, high, least, most] = cell;
  const line = (kind, text) => make("span", { class: `sub ${kind}` }, text);
  const interval = (show) => (low === null || low === undefined ? "" : line("interval", `[${show(low)}, ${show(high)}]`));
  if (column.group === "sides") return [percent(value), interval((end) => fixed(100 * end, 1))];
  return [fixed(value),
    away === null || away === undefined ? "" : line("away", signed(away)),
    interval(fixed),
    least === undefined ? "" : line("seeds", `${fixed(least)}\u2013${fixed(most)} seeds`)];
}

function modelCell(row) {
  const other = row.method !== null && row.method !== row.model ? row.method : "";
  const sub = row.source === "published" ? "published" : other;
  return make("div", { class: "name" }, make("button", { class: "open", type: "button", "aria-haspopup": "dialog", onclick: () => openDetails(row) }, breakable(row.model)),
    sub ? make("span", { class: "sub" }, sub) : "");
}

const verdictCell = (row) => [...marks(row), row.paper ? make("span", { class: "sub" }, `paper: ${row.paper}`) : ""];

const strictCell = (row) => (row.strict ? marks({ marks: [row.strict] }) : row.source === "published" ? missing() : "");

const COLUMNS = columnsOf();

/** Builds what all tables share: heads, toggles, listeners. */
function setUpTable() {
  const over = make("tr", {}, make("td", { class: "model over" }), make("td", { class: "over", colspan: 3 }));
  for (const [group, name] of Object.entries(GROUPS)) {
    const span = COLUMNS.filter((column) => column.group === group).length;
    over.append(make("th", { class: `over g-${group}`, colspan: span, scope: "colgroup" }, name));
  }
  const heads = make("tr", {}, COLUMNS.map((column) => make("th",
    { scope: "col", class: place(column), "data-key": column.key, "aria-sort": "none" },
    make("button", { type: "button", title: titleOf(column), onclick: () => sortBy(column) }, column.head,
      make("span", { class: "turn", "aria-hidden": "true" }), make("small", {}, column.hint || "\u00a0")))));
  byId("table").tHead.replaceChildren(over, heads);
  for (const [group, name] of Object.entries(GROUPS)) {
    toggle("groups", name.split(":")[0], !HIDDEN_AT_FIRST.includes(group), `hide-${group}`);
  }
  for (const [line, name] of Object.entries(LINES)) toggle("lines", name, true, `hide-${line}`);
  byId("filters").addEventListener("input", filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => setTimeout(() => {
    byId("by-source").value = state.table.comparable ? "" : "measured";
    filter();
  }));
}

/** The tooltip of a column head. */
const titleOf = (column) => (column.trust ? `${column.name}; trust ${column.trust}` : column.name ?? null);

function place(column) {
  const first = COLUMNS.find((each) => each.group === column.group) === column && column.group;
  return [column.key === "model" ? "model" : "", column.words ? "words" : "", column.group ? `g-${column.group}` : "",
    first ? "first" : ""].join(" ").trim();
}

/** A checkbox that toggles `hidden`, a class of the table that hides columns or lines. */
function toggle(fieldset, name, on, hidden) {
  const box = make("input", { type: "checkbox", checked: on });
  const apply = () => byId("table").classList.toggle(hidden, !box.checked);
  box.addEventListener("change", apply);
  byId(fieldset).append(make("label", { class: hidden }, box, name));
  apply();
}

function showTable() {
  const rows = [...state.table.rows, ...data.published];
  const bound = (row) => BOUNDS.includes(row.role);
  for (const row of rows) row.element = lineOf(row);
  byId("bounds").replaceChildren(...rows.filter(bound).map((row) => row.element));
  state.lines = rows.filter((row) => !bound(row));
  const filled = (at) => state.table.rows.some((row) => Object.values(row.cells).some((cell) => (cell[at] ?? null) !== null));
  const [intervals, seeds] = [filled(2), filled(4)];
  document.querySelector("#lines .hide-interval").hidden = !intervals;
  document.querySelector("#lines .hide-seeds").hidden = !seeds;
  byId("cell-note").textContent = "Each cell: the value; its distance to the bound" +
    (intervals ? `; in brackets, its ${data.level} bootstrap confidence interval, resampled by person` : "") +
    (seeds ? "; its range over seeds" : "") + ". " +
    (intervals ? "" : "These results contain no per-row scores to bootstrap; evaluate the models again to get intervals. ") +
    "Missing: the results do not contain this number.";
  const unique = (values) => [...new Set(values.filter((value) => value !== null && value !== undefined))];
  options(byId("by-verdict"), "all", unique(state.lines.flatMap((row) => row.marks.map(([, words]) => words))).map((v) => [v, v]));
  options(byId("by-budget"), "all", unique(state.lines.map((row) => row.budget)).sort((a, b) => a - b).map((v) => [v, times(v)]));
  options(byId("by-method"), "all", unique(state.lines.map((row) => row.method)).sort().map((v) => [v, v]));
  options(byId("by-tuning"), "all", unique(state.lines.map((row) => row.tuning)).sort().map((v) => [v, TUNING[v] ?? v]));
  byId("by-tuning").parentElement.hidden = byId("by-tuning").options.length < 2;
  byId("by-source").value = state.table.comparable ? "" : "measured";
  sortBy(null);
}

function lineOf(row) {
  return make("tr", {}, COLUMNS.map((column) => column.key === "model"
    ? make("th", { scope: "row" }, column.cell(row))
    : make("td", { class: place(column) }, column.cell(row))));
}

/** Sorts by a column: best first, then worst first, then back to the initial order. */
function sortBy(column) {
  const old = state.sort;
  if (!column || (old?.column === column && old.turned)) state.sort = null;
  else state.sort = { column, turned: old?.column === column };
  const { column: by, turned } = state.sort ?? {};
  const descending = by && by.descending !== turned;
  const order = (one, other) => {
    const [a, b] = [by.value(one), by.value(other)];
    if ((a ?? null) === null || (b ?? null) === null) return ((a ?? null) === null) - ((b ?? null) === null);
    const less = typeof a === "string" ? a.localeCompare(String(b), "en") : a - b;
    return descending ? -less : less;
  };
  const lines = by ? [...state.lines].sort(order) : state.lines;
  byId("methods").replaceChildren(...lines.map((row) => row.element));
  for (const head of byId("table").tHead.querySelectorAll("[data-key]")) {
    const sorted = by?.key === head.dataset.key;
    head.setAttribute("aria-sort", !sorted ? "none" : descending ? "descending" : "ascending");
  }
  filter();
}

function filter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [verdict, budget, method, tuning, source] =
    ["by-verdict", "by-budget", "by-method", "by-tuning", "by-source"].map((id) => byId(id).value);
  let shown = 0;
  state.shown = new Set(BOUNDS);
  for (const row of state.lines) {
    const text = [row.model, row.method ?? "", row.verdict, row.paper ?? ""].join(" ").toLowerCase();
    const fits = words.every((word) => text.includes(word)) &&
      (!verdict || row.marks.some(([, each]) => each === verdict)) &&
      (!budget || String(row.budget) === budget) && (!method || row.method === method) &&
      (!tuning || row.tuning === tuning) && (!source || row.source === source);
    row.element.hidden = !fits;
    shown += fits;
    if (fits && row.source === "measured") state.shown.add(row.model);
  }
  const all = state.lines.filter((row) => !source || row.source === source).length;
  byId("count").textContent = `${shown} of ${all} models shown${shown ? "" : "; no model matches these filters"}.`;
  byId("published-note").hidden = state.table.comparable || source === "measured";
  fadeScatter();
}

/** The ranks, the differences between neighbours, and the means over seeds. */
function showRanks() {
  const { ranks, pairs, seeds } = state.table;
  byId("rank-table").replaceChildren(ranks.length ? plainTable(`Ranks by the weakest share, with ${data.level} CIs`,
    [["model", "words"], ["rank", ""], [`${data.level} CI of the rank`, "words"], ["weakest share", ""], ["significantly better than", "words"]],
    ranks.map((each) => [each.model, String(each.rank), [`${each.low} to ${each.high}`, track(each, ranks.length)],
      percent(each.weakest), better(each.better_than)]))
    : make("p", { class: "note" }, methodsOf(state.table).length ? "These results contain no per-row scores to bootstrap, so " +
      "differences cannot be tested. Evaluate the models again to get ranks and intervals." : "There is no unlearned model yet."));
  byId("pair-table").replaceChildren(...(pairs.length ? neighbours(pairs) : []));
  byId("seed-table").replaceChildren(...(seeds ? overSeeds(seeds) : []));
}

function track(each, count) {
  const at = (rank) => `${(100 * (rank - 1)) / Math.max(count - 1, 1)}%`;
  const [bar, point] = [make("i"), make("b")];
  bar.style.left = at(each.low);
  bar.style.width = `calc(${at(each.high)} - ${at(each.low)})`;
  point.style.left = at(each.rank);
  return make("div", { class: "track", "aria-hidden": "true" }, bar, point);
}

function better(models) {
  if (models.length < 4) return models.join(", ") || "none";
  return make("details", {}, make("summary", {}, `${models.length} models`), models.join(", "));
}

/** A menu of neighbours, and the differences of the chosen two in every metric. */
function neighbours(pairs) {
  const of = (each) => `${each.model}\u0000${each.other}`;
  const both = new Map(pairs.map((each) => [of(each), `${each.model} and ${each.other}`]));
  const select = make("select", { id: "pick-pair" }, [...both].map(([, text], at) => make("option", { value: at }, text)));
  const out = make("div");
  const draw = () => {
    const chosen = pairs.filter((each) => of(each) === [...both.keys()][select.value]);
    out.replaceChildren(plainTable("Paired differences on the same rows: first model minus second",
      [["metric", "words"], ["difference", ""], [`${data.level} CI`, ""], ["significant among all pairs", "words"]],
      chosen.map((each) => [each.metric, signed(each.difference, fine), `${signed(each.low, fine)} to ${signed(each.high, fine)}`,
        each.real ? "yes" : "no"])));
  };
  select.addEventListener("change", draw);
  draw();
  return [make("h3", {}, "Differences between neighbours in the ranking"), make("p", { class: "pick" }, make("label", { for: "pick-pair" }, "Models"), select), out];
}

function overSeeds(seeds) {
  const keys = data.columns.filter((column) => column.group !== "sides").map((column) => column.key);
  const cell = (each) => !each ? missing() : [fixed(each.mean),
    each.low === null ? "" : make("span", { class: "sub" }, `[${fixed(each.low)}, ${fixed(each.high)}]`),
    make("span", { class: "sub" }, `${fixed(each.min)}\u2013${fixed(each.max)}, ${each.seeds}`)];
  return [make("h3", {}, `Mean over seeds ${seeds.seeds.join(", ")}`),
    plainTable(`Mean over seeds; in brackets, its ${data.level} bootstrap confidence interval, resampled by seed and person; range, number of seeds`,
      [["model", "words"], ...keys.map((key) => [key, ""])],
      Object.entries(seeds.models).map(([name, found]) => [name, ...keys.map((key) => cell(found[key]))]))];
}
