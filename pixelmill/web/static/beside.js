// One query, two models side by side: what each finds, and what both do.

import { get } from "./api.js";
import { cell } from "./cell.js";
import { h } from "./dom.js";
import { chosen } from "./facets.js";
import { openLightbox } from "./lightbox.js";
import { memory } from "./memory.js";
import { filters, go, isSearch, read } from "./state.js";
import { inWords } from "./terms.js";

const SHOWN = 20;
const MOST = 200;

const served = (store) => [...store.models.filter((model) => model.generation === "serving").map((model) => model.name), ...store.ensembles];

// The model on the left: the one that was chosen, or that the server takes for such a query.
function leftModel(state, store) {
  if (state.model) return state.model;
  const models = store.models.filter((model) => model.generation === "serving");
  return (models.find((model) => model.default && (model.text || !state.text.length)) ?? models.find((model) => model.text) ?? models[0])?.name;
}

// From one model to two, where there are others.
export function comparison(state, store) {
  const others = served(store).filter((name) => name !== leftModel(state, store));
  if (!others.length) return "";
  const options = [h("option", { value: "" }, "compare with…"), ...others.map((name) => h("option", { value: name }, name))];
  return h("select.compare", { "aria-label": "Compare with another model", title: "Two models side by side (b)", onchange: (event) => go({ beside: event.target.value }) }, ...options);
}

// By the key: the first of the others, or one model again.
export function toggleBeside(store) {
  const state = read();
  const other = served(store).find((name) => name !== leftModel(state, store));
  if (isSearch(state) && (state.beside || other)) go({ view: "images", beside: state.beside ? null : other });
}

export function showBeside(main, state, store, signal) {
  const here = memory();
  const models = [leftModel(state, store), state.beside];
  const told = h("p.quiet", { role: "status" }, "Searching…");
  const close = h("button.action.slim", { type: "button", title: "One model (b)", onclick: () => go({ beside: null }) }, "One model");
  const columns = h(".beside");
  const more = h("button.more", { type: "button", hidden: true, onclick: () => ((here.shown += SHOWN), draw()) }, "More");
  main.append(h(".headline", {}, h("h1", {}, inWords(state)), told, close, h("span.chosen", {}, ...chosen(state))), columns, more);
  here.shown ??= SHOWN;

  async function draw() {
    const asked = { text: state.text, row: state.row, image: state.image, k: here.shown, ...filters(state) };
    const found = await Promise.all(models.map((model) => get("search", { ...asked, model }, signal).catch((error) => ({ error, hits: [] }))));
    if (signal.aborted) return;
    const [left, right] = found.map(({ hits }) => hits);
    const both = left.filter((hit) => twin(hit, right) >= 0).length;
    const most = Math.max(left.length, right.length);
    told.textContent = found.some(({ error }) => error) ? "" : most ? `${both} of the first ${most} in both` : "";
    columns.replaceChildren(column(0, found[0], right), column(1, found[1], left));
    more.hidden = here.shown >= MOST || !found.some(({ more: further }) => further);
  }

  function column(side, { error, hits, notes = [] }, others) {
    const change = (event) => go(side ? { beside: event.target.value } : { model: event.target.value, min_score: null });
    const options = served(store).map((name) => h("option", { value: name, selected: name === models[side] }, name));
    const head = h("select", { "aria-label": side ? "Model on the right" : "Model on the left", onchange: change }, ...options);
    const note = (picture) => picture.score.toFixed(2);
    const tiles = hits.map((hit, index) => tile(hit, index, () => openLightbox({ pictures: hits, index, note, show: (at) => tiles[at].querySelector(".cell").focus() }), twin(hit, others), models[1 - side]));
    const list = tiles.length ? h(".found", { role: "list", "aria-label": models[side] }, ...tiles) : h("p.problem", {}, error ? problem(error, models[side]) : "Nothing found.");
    return h("section.column", { "aria-label": models[side] }, head, ...notes.map((words) => h("p.warn", {}, words)), list);
  }

  // Words were asked of a model that knows pictures only, or something else went wrong.
  const problem = (error, name) => {
    const model = store.models.find((one) => one.name === name);
    return state.text.length && model && !model.text ? [h("strong", {}, `${name} knows no words.`), " It compares pictures only. Choose another model here, or search with a picture."] : error.message;
  };

  columns.addEventListener("pointerover", (event) => together(columns, event.target.closest(".tile")));
  columns.addEventListener("focusin", (event) => together(columns, event.target.closest(".tile")));
  columns.addEventListener("pointerleave", () => together(columns, null));
  return draw();
}

// Where the other model has the same picture, or one that looks the same; -1: nowhere among those shown.
function twin(hit, others) {
  const rows = new Set([hit.row, ...hit.copies]);
  return others.findIndex((other) => [other.row, ...other.copies].some((row) => rows.has(row)));
}

function tile(hit, index, open, place, other) {
  const made = cell(hit, open);
  const also = place < 0 ? "" : h("span.both", { title: `${other} has it in place ${place + 1}` }, h("span.visually-hidden", {}, `also found by ${other}, in place `), `⇄ ${place + 1}`);
  made.querySelector(".cell").setAttribute("tabindex", "0");
  made.classList.toggle("shared", place >= 0);
  made.dataset.row = hit.row;
  made.append(h("p.rank", {}, h("span", {}, `${index + 1}.`), h("span.quiet", {}, hit.score.toFixed(2)), also));
  return made;
}

// The same picture in both columns.
function together(columns, tile) {
  for (const one of columns.querySelectorAll(".tile")) one.classList.toggle("together", tile !== null && one !== tile && one.dataset.row === tile?.dataset.row);
}
