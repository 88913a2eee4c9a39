// All images, or those that a search finds.

import { get } from "./api.js";
import { comparison, showBeside } from "./beside.js";
import { count, empty, h } from "./dom.js";
import { Feed } from "./feed.js";
import { Grid } from "./grid.js";
import { keepList, memory } from "./memory.js";
import { chosen } from "./facets.js";
import { filters, go, isFiltered, isSearch, unfiltered } from "./state.js";
import { inWords } from "./terms.js";
import { threshold } from "./threshold.js";

const PAGE = 60;
const FARTHEST = 5000;

export function showImages(main, state, store, signal) {
  if (store.problem) return main.append(empty("quarantine", "No store to show", store.problem));
  if (isSearch(state) && state.beside) return showBeside(main, state, store, signal);
  const head = h(".headline", {}, h("h1", {}, isSearch(state) ? "Searching…" : ""));
  main.append(head, isSearch(state) ? results(state, store, head, signal) : everything(state, store, head, signal));
}

function everything(state, store, head, signal) {
  const load = (before) => get("rows", { before, limit: PAGE, ...filters(state) });
  const onFirst = (page) => head.replaceChildren(h("h1", {}, count(page.images, "image")), h("p.quiet", {}, isFiltered(state) ? "that the filters let through, newest first" : "newest first"), unfilter(state));
  const nothing = isFiltered(state)
    ? empty("filter", "No image passes the filters", "Widen them, or clear them.", h("button.action", { type: "button", onclick: clear }, "Clear the filters"))
    : empty("images", "No images yet", `${store.store ?? "The store"} holds none. \`pixelmill run SOURCE --store …\` puts some in; they show here as they come.`);
  const failed = () => void head.replaceChildren(h("h1", {}, "Images"), unfilter(state));
  return listed(load, { onFirst, nothing, failed, signal });
}

function results(state, store, head, signal) {
  const asked = { text: state.text, row: state.row, image: state.image, model: state.model, min_score: state.min_score, ...filters(state) };
  const load = async (offset) => {
    const found = await get("search", { ...asked, k: PAGE, offset: offset ?? 0 });
    const next = (offset ?? 0) + PAGE;
    return { ...found, pictures: found.hits, hits: null, next: found.more && next <= FARTHEST ? next : null };
  };
  const onFirst = (found) => {
    head.replaceChildren(h("h1", {}, inWords(state)), h("p.quiet", {}, `the nearest first, by ${found.model}`), comparison(state, store), threshold(state, found), unfilter(state));
    nothing.replaceChildren(found.best === null ? nobody : empty("search", "Nothing scores that much", `The nearest image has ${found.best.toFixed(2)}.`, h("button.action", { type: "button", onclick: () => go({ min_score: null }, { replace: true }) }, "Any score")));
    for (const note of found.notes) head.append(h("p.warn", {}, note));
  };
  const note = (hit) => hit.score.toFixed(2);
  const nothing = h("div");
  const nobody = empty("search", "Nothing found", isFiltered(state) ? "No image passes the filters." : "No image has a vector of this model yet.");
  const failed = (error) => {
    head.replaceChildren(h("h1", {}, inWords(state)), unfilter(state));
    return state.text.length ? otherModels(state, store, error) : null;
  };
  return listed(load, { note, onFirst, nothing, failed, signal, focus: true });
}

// What was loaded for this step of the history is there at once when one comes back to it.
function listed(load, how) {
  const here = memory();
  const feed = here.list ?? new Feed(load);
  keepList(feed);
  return new Grid({ ...how, feed, memory: here }).box;
}

// Words were asked of a model that knows pictures only: offer those that know words.
function otherModels(state, store, error) {
  const served = store.models.filter((model) => model.generation === "serving");
  const chosen = served.find((model) => model.name === state.model);
  const able = served.filter((model) => model.text && model !== chosen);
  if (!able.length || (chosen?.text ?? !store.ensembles.includes(state.model))) return null;
  const choices = able.map(({ name }, i) => h(`button.action${i ? "" : ".primary"}`, { type: "button", onclick: () => go({ model: name }) }, `Search with ${name}`));
  return empty("search", `${state.model} knows no words`, "It compares pictures only. The same words can be searched with a model that knows some.", h(".choices", { title: error.message }, ...choices));
}

const clear = () => go(unfiltered);

// The conditions, each to be taken away by itself, and all filters at once.
function unfilter(state) {
  return isFiltered(state) ? h("span.chosen", {}, ...chosen(state), h("button.action.slim", { type: "button", onclick: clear }, "Clear the filters")) : "";
}
