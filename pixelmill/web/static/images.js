// All images, or those that a search finds.

import { get } from "./api.js";
import { count, empty, h } from "./dom.js";
import { grid } from "./grid.js";
import { filters, go, isFiltered, isSearch, signed } from "./state.js";

const PAGE = 60;

export function showImages(main, state, store, signal) {
  if (store.problem) return main.append(empty("quarantine", "No store to show", store.problem));
  const head = h(".headline", {}, h("h1", {}, isSearch(state) ? "Searching…" : ""));
  main.append(head, isSearch(state) ? results(state, head, signal) : everything(state, store, head, signal));
}

function everything(state, store, head, signal) {
  const load = async (before) => {
    const page = await get("rows", { before, limit: PAGE, ...filters(state) }, signal);
    return { ...page, next: page.next };
  };
  const onFirst = (page) => head.replaceChildren(h("h1", {}, count(page.images, "image")), h("p.quiet", {}, isFiltered(state) ? "that the filters let through, newest first" : "newest first"), unfilter(state));
  const nothing = isFiltered(state)
    ? empty("filter", "No image passes the filters", "Widen them, or clear them.", h("button.action", { type: "button", onclick: clear }, "Clear the filters"))
    : empty("images", "No images yet", `${store.store ?? "The store"} holds none. \`pixelmill run SOURCE --store …\` puts some in; they show here as they come.`);
  return grid({ load, onFirst, nothing });
}

function results(state, head, signal) {
  const asked = { text: state.text, row: state.row, image: state.image, model: state.model, ...filters(state) };
  const load = async (offset) => {
    const found = await get("search", { ...asked, k: PAGE, offset: offset ?? 0 }, signal);
    return { ...found, pictures: found.hits, next: found.more ? (offset ?? 0) + PAGE : null };
  };
  const onFirst = (found) => {
    head.replaceChildren(h("h1", {}, inWords(state)), h("p.quiet", {}, `the nearest first, by ${found.model}`), unfilter(state));
    for (const note of found.notes) head.append(h("p.warn", {}, note));
  };
  const note = (hit) => hit.score.toFixed(2);
  const nothing = empty("search", "Nothing found", isFiltered(state) ? "No image passes the filters." : "No image has a vector of this model yet.");
  return grid({ load, note, onFirst, nothing, focus: true });
}

function inWords(state) {
  if (state.row.length + state.image.length === 1 && !state.text.length) return "Similar images";
  const told = [...state.text, ...state.row.map((row) => row.replace(/\d+/, "image")), ...state.image.map((name) => (name.startsWith("-") ? "-your picture" : "your picture"))];
  return told.map((term, i) => (signed(term)[0] === "-" ? `− ${signed(term)[1]}` : i ? `+ ${term}` : term)).join(" ");
}

const clear = () => go({ glob: null, since: null, until: null, min_size: null });

function unfilter(state) {
  return isFiltered(state) ? h("button.action.slim", { type: "button", onclick: clear }, "Clear the filters") : "";
}
