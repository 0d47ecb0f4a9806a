// Vega charts, drawn when they scroll into view, in the colours of the light or dark theme; then the retrieval examples.

const SPLITS = data.splits;
const CURVES = {
  loss: "Training loss", accuracy: "Batch accuracy", forget_loss: "Forget loss", retain_loss: "Retain loss",
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = new Map(); // element -> {draw, seen, drawn, view}
let scatter = null;

const seeing = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    charts.get(target).seen = isIntersecting;
    if (isIntersecting) drawIfDue(target);
  }
}, { rootMargin: "300px" });

/** Draws the chart that `draw` returns, [specification, datasets, callback for the view], once `element` is in view. */
function lazily(element, draw) {
  charts.set(element, { draw, seen: false, drawn: false, result: null });
  seeing.observe(element);
}

async function drawIfDue(element) {
  const chart = charts.get(element);
  if (!chart.seen || chart.drawn) return;
  chart.drawn = true;
  const [spec, datasets, after] = chart.draw();
  const theme = data.themes[dark.matches ? "dark" : "light"];
  const filled = structuredClone(spec);
  for (const param of filled.params) param.value = theme.colours[param.name] ?? param.value;
  filled.datasets = { ...filled.datasets, ...datasets };
  chart.result?.finalize();
  // `ast`: expressions are interpreted, since the page forbids eval.
  chart.result = await vegaEmbed(element, filled, { ast: true, actions: false, renderer: "svg", config: theme.config, mode: "vega-lite" });
  after?.(chart.result.view);
}

function redraw(elements) {
  for (const element of elements) {
    charts.get(element).drawn = false;
    drawIfDue(element);
  }
}

const redrawAll = () => redraw(charts.keys());

/** The scatter for the selected holdout measure: similarity or retrieval. */
const scatterSpec = () => state.table.scatter[document.querySelector("#kept input:checked").value];

function setUpCharts() {
  byId("kept").addEventListener("change", () => redraw([byId("scatter-chart")]));
  lazily(byId("scatter-chart"), () => [scatterSpec(), {}, (view) => {
    scatter = view;
    view.addEventListener("click", (_, item) => item?.datum?.verdict && rowOf(item.datum.model) && openDetails(rowOf(item.datum.model)));
    view.addResizeListener(() => placeLabels(view));
    placeLabels(view);
    fadeScatter();
  }]);
  SPLITS.forEach(([name, aim], at) => {
    const chart = frame("similarity", name, aim);
    lazily(chart, () => [data.charts.similarity, { points: drawn().flatMap((each) => binsOf(each, at)) }]);
  });
  for (const [key, name] of Object.entries(CURVES)) {
    const chart = frame("training", name, key.includes("_") ? "selected methods" : "Clean and Compromised");
    lazily(chart, () => [data.charts.training, { points: drawn().flatMap((each) => curveOf(each, key)) }]);
  }
  dark.addEventListener("change", redrawAll);
  byId("find-model").addEventListener("input", (event) => {
    const text = event.target.value.toLowerCase();
    for (const label of byId("choices").children) label.hidden = !label.textContent.toLowerCase().includes(text);
  });
  byId("pick-example").addEventListener("change", (event) => showCards(event.target.value));
}

function frame(place, name, aim) {
  const chart = make("div", { class: "chart", role: "group", "aria-label": `${name}, ${aim}` });
  byId(place).append(make("div", {}, make("h4", {}, name), make("p", {}, aim), chart));
  return chart;
}

/** The models of the line charts: [row, slot]. */
const drawn = () => [...state.table.rows.slice(0, 2).map((row) => [row, row.role]),
  ...state.chosen.map((name, at) => [rowOf(name), String(at)])];

function binsOf([row, slot], split) {
  const [counts, edges] = [row.bins[split], state.table.edges];
  const all = counts.reduce((sum, count) => sum + count, 0);
  const steps = counts.map((count, at) => ({ model: row.model, slot, at: edges[at], to: edges[at + 1], share: count / all }));
  return steps.length ? [...steps, { ...steps.at(-1), at: edges.at(-1), to: edges.at(-1) }] : [];
}

const curveOf = ([row, slot], key) => (row.curve[key] ?? []).map((value, at) =>
  ({ model: row.model, slot, step: row.curve.step[at], value }));

/** Labels the points of the scatter where there is room, best models first; positions are in axis units. */
function placeLabels(view) {
  const [x, y] = [view.scale("x"), view.scale("y")];
  const [width, height] = [view.width(), view.height()];
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const points = [{ model: "ideal", left: 0, kept: 100 }, ...scatterSpec().datasets.models]
    .map((each) => ({ ...each, at: [x(each.left), y(each.kept)] }));
  const taken = points.map(({ at }) => [at[0] - 8, at[1] - 8, at[0] + 8, at[1] + 8]);
  const labels = [];
  for (const { model, at, below, kept, inter, intra } of points) {
    const name = [...model].length > 26 ? `${[...model].slice(0, 25).join("")}\u2026` : model;
    const text = below ? `${name} (below ${kept}%)` : name;
    const half = pen.measureText(text).width / 2;
    const places = [[half + 12, 0], [-half - 12, 0], [0, -16], [0, 16], [half + 8, -14], [-half - 8, -14], [half + 8, 14], [-half - 8, 14],
      [0, -32], [0, 32]];
    for (const [dx, dy] of places) {
      const box = [at[0] + dx - half, at[1] + dy - 7, at[0] + dx + half, at[1] + dy + 7];
      const free = box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height &&
        !taken.some((each) => each[0] < box[2] && box[0] < each[2] && each[1] < box[3] && box[1] < each[3]);
      if (free) {
        taken.push(box);
        labels.push({ x: x.invert(at[0] + dx), y: y.invert(at[1] + dy), text });
        break;
      }
    }
  }
  view.data("labels", labels).runAsync();
  const without = state.table.rows.length + 1 - points.length;
  byId("scatter-note").textContent = (labels.length < points.length
    ? `Labels fit for ${labels.length} of ${points.length} points. ` : "") +
    (without ? `Not shown, numbers missing: ${without} model${without === 1 ? "" : "s"}.` : "");
}

function fadeScatter() {
  if (!scatter || !charts.get(byId("scatter-chart")).drawn) return;
  const points = scatterSpec().datasets.models;
  scatter.data("models", points.map((each) => ({ ...each, faded: !state.shown.has(each.model) }))).runAsync();
}

/** Selects or deselects a method for the line charts; beyond the limit, the oldest selection is dropped. */
function choose(name, on) {
  state.chosen = state.chosen.filter((each) => each !== name);
  if (on) state.chosen = [...state.chosen, name].slice(-data.slots);
  showChoices();
  redraw([...charts.keys()].filter((element) => element !== byId("scatter-chart")));
}

function showChoices() {
  const focused = document.activeElement?.dataset?.model;
  byId("choices").replaceChildren(...methodsOf(state.table).map(({ model }) => make("label", {},
    make("input", { type: "checkbox", checked: state.chosen.includes(model), "data-model": model,
      onchange: (event) => choose(model, event.target.checked) }), make("span", {}, model))));
  byId("find-model").dispatchEvent(new Event("input"));
  if (focused) [...byId("choices").querySelectorAll("input")].find((each) => each.dataset.model === focused)?.focus();
  byId("chosen-note").textContent = `${state.chosen.length} of at most ${data.slots} selected; a further selection replaces the oldest.`;
  byId("key").replaceChildren(...drawn().map(([row, slot]) => make("li", {}, swatch(slot), make("span", {}, row.model))));
}

function swatch(slot) {
  const bound = BOUNDS.includes(slot);
  const line = makeSvg("line", { x1: 1, x2: 33, y1: 6, y2: 6, "stroke-width": slot === "clean" ? 7 : 2.5,
    "stroke-dasharray": bound ? "none" : data.dashes[slot].join(" ") });
  // As a style, so that it follows light and dark.
  line.style.stroke = slot === "clean" ? "#8c8c8c" : bound ? "var(--ink)" : data.palette[slot];
  return makeSvg("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" }, line);
}

function showExamples() {
  const select = byId("pick-example");
  select.replaceChildren(...methodsOf(state.table).map(({ model }) => make("option", { value: model }, model)));
  select.disabled = !select.options.length;
  showCards(select.value || state.table.rows[1].model);
}

function showCards(model) {
  const { portraits } = state.table;
  byId("cards").replaceChildren(...(portraits.length ? portraits.map((each, at) => card(each, at, rowOf(model)))
    : [make("p", { class: "note" }, "These results contain no examples; evaluate the models again to get them.")]));
}

function card(portrait, at, row) {
  const [clean, compromised] = state.table.rows;
  const own = row.examples[at];
  const place = (name, found) => make("span", {}, `${name} `, found ? make("b", {}, (found[0] + 1).toLocaleString("en")) : missing());
  const picture = portrait.portrait
    ? make("img", { src: portrait.portrait, alt: `Portrait of ${portrait.name}`, width: 96, height: 96, loading: "lazy" })
    : make("div", { class: "blank" }, "no picture");
  const top = (found) => make("ol", { class: "top" }, found[2].map(([text, cosine]) =>
    make("li", { class: text === portrait.caption ? "is-true" : null }, text, " ",
      make("span", { class: "soft" }, `${cosine === null ? "missing" : fixed(cosine)}${text === portrait.caption ? ", the true caption" : ""}`))));
  return make("article", { class: "card" }, picture,
    make("div", {}, make("h3", {}, portrait.name), make("p", { class: "soft" }, portrait.split.replaceAll("_", " ")),
      make("p", { class: "true" }, portrait.caption)),
    make("div", { class: "below" },
      make("p", { class: "places" }, "Rank of the true caption: ", place("Compromised", compromised.examples[at]), " \u2192 ",
        place(row.model, own), make("span", { class: "soft" }, " "), place("Clean", clean.examples[at])),
      own ? [make("p", { class: "soft" }, `Top captions of ${row.model}:`), top(own)] : missing(),
      compromised.examples[at] ? make("details", {}, make("summary", {}, "Top captions of Compromised"), top(compromised.examples[at])) : ""));
}
