// Groups of images of which every two look almost the same.

import { get } from "./api.js";
import { cell } from "./cell.js";
import { bytes, count, empty, h, number, percent } from "./dom.js";
import { openLightbox } from "./lightbox.js";
import { beginning, pager } from "./pager.js";
import { select } from "./selection.js";
import { go } from "./state.js";

const PAGE = 30;
const USUAL = 0.97;

export async function showDuplicates(main, state, _store, signal) {
  const threshold = Number(state.threshold ?? USUAL);
  const head = h(".headline", {}, h("h1", {}, "Looking for near-duplicates…"));
  const [list, pages] = [h(".groups"), h("div")];
  main.append(head, slider(threshold), list, pages);
  try {
    const from = beginning(state);
    const page = await get("duplicates", { model: state.model, threshold, offset: from, limit: PAGE }, signal);
    const sample = page.of > page.compared ? ` Only the newest ${number(page.compared)} of ${number(page.of)} images were compared.` : "";
    head.replaceChildren(h("h1", {}, page.groups_in_all ? `${count(page.groups_in_all, "group")} of look-alikes` : "Near-duplicates"), h("p.quiet", {}, `${count(page.images_in_all, "image")}, by ${page.model}; every two of a group are this alike. Exact copies are one image.${sample}`));
    list.append(...page.groups.map(group));
    pages.append(pager(from, PAGE, page.groups_in_all));
    if (!page.groups_in_all) list.append(empty("twins", "No look-alikes", "No two images are this similar. Lower the threshold to see what comes close."));
  } catch (error) {
    if (error.name !== "AbortError") main.replaceChildren(empty("quarantine", "That did not work", error.message));
  }
}

function slider(threshold) {
  const told = h("output", {}, threshold.toFixed(3));
  const range = h("input", { type: "range", min: 0.85, max: 1, step: 0.005, value: threshold, "aria-label": "Least similarity", oninput: () => (told.textContent = Number(range.value).toFixed(3)), onchange: () => go({ threshold: range.value }, { replace: true }) });
  return h("p.slider", {}, h("span.quiet", {}, "alike"), range, h("span.quiet", {}, "the same"), told);
}

function group({ images, keep, pictures }) {
  const note = (picture) => (picture.row === keep ? "keep" : percent(picture.similarity));
  const tiles = pictures.map((picture, index) => {
    const tile = cell(picture, () => openLightbox({ pictures, index, note, show: (at) => tiles[at].querySelector(".cell").focus() }), note(picture));
    tile.title = [`${number(picture.width)} × ${number(picture.height)} pixels`, picture.bytes && bytes(picture.bytes), picture.name].filter(Boolean).join(", ");
    tile.classList.toggle("keep", picture.row === keep);
    tile.querySelector(".cell").setAttribute("tabindex", "0");
    tile.querySelector("img").setAttribute("loading", "lazy");
    return tile;
  });
  const rest = images > pictures.length ? h("p.quiet", {}, `and ${number(images - pictures.length)} more`) : "";
  return h("section.card.group", {}, h("header.quiet", {}, count(images, "image"), h("button.rest", { type: "button", title: "All that are shown here but the one to keep", onclick: () => select(pictures.filter(({ row }) => row !== keep)) }, "Select the others")), h(".strip", { role: "list" }, ...tiles), rest);
}
