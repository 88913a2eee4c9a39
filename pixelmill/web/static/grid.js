// Rows of thumbnails that fill the width; more of them come when one scrolls near the end.

import { Problem } from "./api.js";
import { empty, h, icon } from "./dom.js";
import { justify } from "./justify.js";
import { openLightbox } from "./lightbox.js";
import { addTerm, searchFor } from "./state.js";

const WIDEST = 2.4;
const NARROWEST = 0.6;

// A link to the file that opens the picture large instead. `note` is told below the name, `extra` laid over a corner.
export function cell(picture, open, note = "") {
  const ratio = picture.width && picture.height ? picture.width / picture.height : 1;
  const clamped = Math.min(Math.max(ratio, NARROWEST), WIDEST);
  const image = h("img", {
    src: picture.thumbnail,
    srcset: `${picture.thumbnail} 1x, ${picture.thumbnail}&size=640 2x`,
    alt: picture.name,
    loading: "lazy",
    decoding: "async",
    width: picture.width || 320,
    height: picture.height || 320,
    onload: () => image.classList.add("loaded"),
    onerror: () => link.classList.add("broken"),
  });
  if (picture.width < 200 && picture.height < 200) image.classList.add("small");
  const similar = h("button.icon.like", { type: "button", tabindex: -1, title: "Similar images (s)", "aria-label": `Similar to ${picture.name}` }, icon("like"));
  similar.addEventListener("click", (event) => {
    event.preventDefault();
    event.stopPropagation();
    searchFor("row", String(picture.row));
  });
  const caption = h("span.caption", {}, h("span.name", {}, picture.name), note && h("span.note", {}, note));
  const link = h("a.cell", { href: picture.file, "data-row": picture.row, "--ratio": clamped, tabindex: -1 }, image, caption);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
  return h(".tile", { role: "listitem", "--ratio": clamped }, link, similar);
}

// The element for a grid. `load(cursor)` gives {pictures, next, notes}; `note(picture)` what is told of each.
export function grid({ load, note = () => "", onFirst = () => {}, nothing, focus = false }) {
  const pictures = [];
  const list = h(".grid", { role: "list", "aria-label": "Images" });
  const more = h("button.more", { type: "button", hidden: true }, "More");
  const box = h("section.results", {}, list, more);
  let cursor = null;
  let loading = false;

  async function next() {
    if (loading) return;
    loading = true;
    const first = pictures.length === 0;
    if (first) (list.append(...skeleton()), requestAnimationFrame(() => justify(list)));
    try {
      const page = await load(cursor);
      if (first) list.replaceChildren();
      append(page.pictures);
      cursor = page.next;
      more.hidden = cursor === null;
      if (first) begun(page);
    } catch (error) {
      if (error.name === "AbortError") return;
      failed(error, first);
    } finally {
      loading = false;
    }
    if (!more.hidden && more.getBoundingClientRect().top < innerHeight + 800) next();
  }

  function begun(page) {
    onFirst(page);
    if (!pictures.length) box.replaceChildren(nothing);
    else if (focus && document.activeElement === document.body) list.querySelector(".cell").focus({ preventScroll: true });
  }

  function failed(error, first) {
    const words = error instanceof Problem ? error.message : String(error);
    const again = h("button.action", { type: "button", onclick: () => (box.replaceChildren(list, more), next()) }, "Try again");
    if (first) list.replaceChildren();
    if (first) box.replaceChildren(empty("quarantine", "That did not work", words, again));
    else more.textContent = `${words} Try again`;
  }

  function append(found) {
    for (const picture of found) {
      const index = pictures.push(picture) - 1;
      list.append(cell(picture, () => openLightbox({ pictures, index, note, more: () => (cursor === null ? null : next()), show }), note(picture)));
    }
    justify(list);
    if (!list.querySelector('.cell[tabindex="0"]')) list.querySelector(".cell")?.setAttribute("tabindex", "0");
  }

  // After the lightbox: the picture that was looked at last is where the keyboard goes on.
  function show(index) {
    const target = list.querySelectorAll(".cell")[index];
    if (target) move(list, target);
  }

  more.addEventListener("click", next);
  list.addEventListener("keydown", (event) => keys(event, list));
  new ResizeObserver(() => justify(list)).observe(list);
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && !more.hidden && next(), { rootMargin: "800px" }).observe(more);
  next();
  return box;
}

function skeleton() {
  const ratios = [1.5, 1, 0.75, 1.33, 1.5, 1, 1.78, 0.8, 1.2, 1.5, 1, 1.33, 0.75, 1.5];
  return ratios.map((ratio) => h(".tile.skeleton", { "--ratio": ratio, "aria-hidden": "true" }));
}

function keys(event, list) {
  const here = event.target.closest(".cell");
  if (!here || event.ctrlKey || event.metaKey || event.altKey) return;
  const cells = [...list.querySelectorAll(".cell")];
  const at = cells.indexOf(here);
  const actions = {
    ArrowRight: () => cells[at + 1],
    ArrowLeft: () => cells[at - 1],
    ArrowDown: () => below(cells, here, 1),
    ArrowUp: () => below(cells, here, -1),
    Home: () => cells[0],
    End: () => cells.at(-1),
    s: () => searchFor("row", here.dataset.row),
    "+": () => addTerm("row", here.dataset.row),
    "-": () => addTerm("row", `-${here.dataset.row}`),
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  const target = actions[event.key]();
  if (target instanceof Element) move(list, target);
}

// The nearest picture in the next line of the grid, or the one before.
function below(cells, here, direction) {
  const from = here.getBoundingClientRect();
  const centre = (box) => box.left + box.width / 2;
  const lines = cells.map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => (box.top - from.top) * direction > 8);
  const nearest = Math.min(...lines.map(([, box]) => Math.abs(box.top - from.top)));
  const line = lines.filter(([, box]) => Math.abs(Math.abs(box.top - from.top) - nearest) < 8);
  line.sort(([, a], [, b]) => Math.abs(centre(a) - centre(from)) - Math.abs(centre(b) - centre(from)));
  return line[0]?.[0];
}

function move(list, target) {
  for (const one of list.querySelectorAll('.cell[tabindex="0"]')) one.setAttribute("tabindex", "-1");
  target.setAttribute("tabindex", "0");
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest" });
}
