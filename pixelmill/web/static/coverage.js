// How much of the collection each model covers.

import { get } from "./api.js";
import { count, empty, h, moment, number, percent } from "./dom.js";
import { go } from "./state.js";

export async function showCoverage(main, _state, _store, signal) {
  let store;
  try {
    store = await get("store", {}, signal);
  } catch (error) {
    if (error.name !== "AbortError") main.append(empty("quarantine", "No store to show", error.message));
    return;
  }
  const facts = [
    [number(store.images), "images"],
    [number(store.models.filter((model) => model.generation === "serving").length), "models"],
    [number(store.rows - store.images), "gone or moved away"],
    [number(store.quarantined), "in quarantine"],
  ];
  main.append(
    h(".headline", {}, h("h1", {}, "Coverage"), h("p.quiet", {}, `${store.store} · published ${moment(store.published_at)}`)),
    ...store.warnings.map((words) => h("p.warn", {}, words)),
    store.unread ? h("p.warn", {}, `${count(store.unread, "file")} could not be read, or ${store.unread === 1 ? "waits" : "wait"} for the next run.`) : "",
    h(".numbers", {}, ...facts.map(([value, words]) => h("p", {}, h("strong", {}, value), h("span", {}, words)))),
    ...(store.models.length ? [legend(), h(".models", {}, ...store.models.map((model) => card(model, store)))] : [empty("coverage", "No vectors yet", "`pixelmill run` makes them.")]),
    store.sources.length && store.models.length ? sources(store) : "",
  );
}

function legend() {
  const key = (name, words) => h("span", {}, h(`i.${name}`), words);
  return h("p.legend", {}, key("embedded", "embedded"), key("quarantined", "quarantined"), key("pending", "pending: the next run makes them"));
}

function card(model, store) {
  const share = (value) => `${store.images ? (100 * value) / store.images : 0}%`;
  const parts = ["embedded", "quarantined", "pending"].filter((name) => model[name]);
  const bar = h(".stack", { role: "img", "aria-label": `${percent(model.coverage)} embedded` }, ...parts.map((name) => h(`i.${name}`, { "--share": share(model[name]) })));
  const words = parts.map((name) => `${number(model[name])} ${name}`).join(" · ");
  return h("article.card", {},
    h("header", {}, h("h2", {}, model.name), h("strong", {}, percent(model.coverage))),
    bar,
    h("p", {}, words || "nothing yet"),
    h("p.quiet", {}, `${model.dim} dim · ${model.precision} · ${model.decode} decoding · ${model.text ? "words and pictures" : "pictures only"}${model.generation === "filling" ? " · a new generation, served once it is complete" : ""}`),
    model.quarantined ? h("button.action.slim", { type: "button", onclick: () => go({ view: "quarantine" }) }, "Which, and why") : "",
  );
}

function sources(store) {
  const served = store.models.filter((model) => model.generation === "serving").map((model) => model.name);
  const row = (source) => h("tr", {}, h("td.path", {}, source.source), h("td", {}, number(source.images)), ...served.map((name) => h("td", {}, percent(source.images ? source.embedded[name] / source.images : 0))));
  return h("section", {}, h("h2", {}, "Sources"), h(".scroll", { tabindex: 0, role: "region", "aria-label": "Sources" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "folder"), h("th", {}, "images"), ...served.map((name) => h("th", {}, name)))), h("tbody", {}, ...store.sources.map(row)))));
}
