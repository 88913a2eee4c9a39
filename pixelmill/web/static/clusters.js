// What kinds of pictures there are: clusters, each with the pictures in its middle.

import { get } from "./api.js";
import { cell } from "./cell.js";
import { count, empty, h } from "./dom.js";
import { openLightbox } from "./lightbox.js";
import { beginning, pager } from "./pager.js";
import { address, go, read, unfiltered } from "./state.js";

const PAGE = 30;

export async function showClusters(main, state, store, signal) {
  const head = h(".headline", {}, h("h1", {}, "Clusters…"));
  main.append(head);
  try {
    const from = beginning(state);
    const page = await get("clusters", { offset: from, limit: PAGE }, signal);
    if (!page.model) return main.replaceChildren(empty("clusters", "No clusters yet", `\`pixelmill clusters ${store.store ?? "STORE"}\` finds out what kinds of pictures there are, and each later run puts what is new into them. They show here.`));
    const without = page.without ? ` ${count(page.without, "image")} that ${page.without === 1 ? "has" : "have"} no vector of it ${page.without === 1 ? "is" : "are"} in none.` : "";
    head.replaceChildren(h("h1", {}, count(page.clusters_in_all, "cluster")), h("p.quiet", {}, `${count(page.images_in_all, "image")}, by ${page.model}; each is called by the picture in its middle, which stands first.${without}`),
      h("button.action.slim", { type: "button", onclick: () => go({ view: "map", model: page.model, by: "cluster", only: [] }) }, "On the map"));
    main.append(h(".clusters-list", {}, ...page.clusters.map(cluster)), pager(from, PAGE, page.clusters_in_all));
  } catch (error) {
    if (error.name !== "AbortError") main.replaceChildren(empty("quarantine", "That did not work", error.message));
  }
}

function cluster({ name, images, where, pictures }) {
  const note = (picture) => picture.similarity?.toFixed(2) ?? "";
  const tiles = pictures.map((picture, index) => {
    const tile = cell(picture, () => openLightbox({ pictures, index, note, show: (at) => tiles[at].querySelector(".cell").focus() }), note(picture));
    tile.querySelector(".cell").setAttribute("tabindex", "0");
    tile.querySelector("img").setAttribute("loading", "lazy");
    return tile;
  });
  const shown = { ...read(), view: "images", text: [], row: [], image: [], open: null, from: null, ...unfiltered, where: [where] };
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(shown);
  };
  const cut = name.lastIndexOf("/") + 1;
  const title = h("h2", {}, h("a", { href: address(shown), title: name, onclick: open, "data-where": where }, h("span.quiet", { dir: "auto" }, name.slice(0, cut)), h("bdi", {}, name.slice(cut))));
  return h("section.card.cluster", {}, h("header", {}, title, h("span.quiet", {}, count(images, "image"))), h(".strip", { role: "list" }, ...tiles));
}
