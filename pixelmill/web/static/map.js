// The collection on one plane: what the model finds alike lies together, coloured by what is known of it.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { colouring } from "./colours.js";
import { count, empty, h, number, percent } from "./dom.js";
import { titled } from "./known.js";
import { go } from "./state.js";

const FRESH = 60_000;
let last = { key: null };

export async function showMap(main, state, _store, signal) {
  const head = h(".headline", {}, h("h1", {}, "Drawing the map…"));
  main.append(head);
  try {
    const points = await asked({ model: state.model, by: state.by }, signal);
    if (!points.rows.length) return main.replaceChildren(empty("map", "Nothing to map yet", "No image has a vector of this model."));
    const sample = points.of > points.rows.length ? ` The newest ${number(points.rows.length)} of ${number(points.of)} are shown.` : "";
    head.replaceChildren(h("h1", {}, count(points.rows.length, "image")), h("p.quiet", {}, `by ${points.model}; these two axes show ${percent(points.explained)} of how they differ.${sample}`));
    const colours = colouring(points, state.only, () => chart.draw());
    const chart = new Chart(points, colours, signal);
    const options = points.choices.map(({ name }) => h("option", { value: name, selected: name === points.by }, titled(name)));
    const chooser = h("label.by", {}, h("span.quiet", {}, "Coloured by"), h("select", { onchange: (event) => go({ by: event.target.value, only: [] }) }, ...options));
    main.append(h(".map-view", {}, chart.box, h("aside.map-side", { "aria-label": "What the colours say" }, chooser, colours.legend)));
  } catch (error) {
    if (error.name !== "AbortError") main.replaceChildren(empty("quarantine", "That did not work", error.message));
  }
}

// The last map is there at once when one comes back to it.
async function asked(query, signal) {
  const key = JSON.stringify(query);
  if (last.key !== key || Date.now() - last.at > FRESH) last = { key, points: await get("map", query, signal), at: Date.now() };
  return last.points;
}
