// Groups of images that look almost the same.

import { get } from "./api.js";
import { count, empty, h, number, percent } from "./dom.js";
import { cell } from "./grid.js";
import { openLightbox } from "./lightbox.js";
import { go } from "./state.js";

const PAGE = 30;
const USUAL = 0.97;

export async function showDuplicates(main, state, _store, signal) {
  const threshold = Number(state.threshold ?? USUAL);
  const list = h(".groups");
  const more = h("button.more", { type: "button", hidden: true }, "More");
  const head = h(".headline", {}, h("h1", {}, "Looking for near-duplicates…"));
  let shown = 0;

  async function next() {
    const page = await get("duplicates", { model: state.model, threshold, offset: shown, limit: PAGE }, signal);
    list.append(...page.groups.map(group));
    shown += page.groups.length;
    more.hidden = !page.more;
    return page;
  }

  main.append(head, slider(threshold), list, more);
  more.addEventListener("click", next);
  try {
    const page = await next();
    const sample = page.of > page.compared ? ` Only the newest ${number(page.compared)} of ${number(page.of)} images were compared.` : "";
    head.replaceChildren(h("h1", {}, page.groups_in_all ? `${count(page.groups_in_all, "group")} of look-alikes` : "Near-duplicates"), h("p.quiet", {}, `${count(page.images_in_all, "image")}, by ${page.model}. Exact copies are one image already.${sample}`));
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

function group({ images, pictures }) {
  const note = (picture) => (picture === pictures[0] ? "oldest" : percent(picture.similarity));
  const tiles = pictures.map((picture, index) => cell(picture, () => openLightbox({ pictures, index, note }), note(picture)));
  for (const tile of tiles) tile.querySelector(".cell").setAttribute("tabindex", "0");
  const rest = images > pictures.length ? h("p.quiet", {}, `and ${number(images - pictures.length)} more`) : "";
  return h("section.card.group", {}, h("header.quiet", {}, count(images, "image")), h(".strip", { role: "list" }, ...tiles), rest);
}
