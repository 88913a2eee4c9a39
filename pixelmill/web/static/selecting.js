// How pictures are selected: by mouse, keys and touch, in every list of them.

import { get } from "./api.js";
import { toast } from "./dom.js";
import { MOST, clear, has, picturesOf, pictureOf, replace, select, size, kept, toggle } from "./selection.js";
import { filters, isFiltered, isSearch, read } from "./state.js";

const LONG = 450;
const FAR = 10;
const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
export const KEYS = [["x", "select an image, or no longer"], ["Shift ← → ↑ ↓", "select a range"], ["Ctrl A", "select all that are shown"], ["l", "label what is selected; Esc selects nothing"]];

let anchor = null; // where a range begins: a list, and a row
let extending = null; // a range that goes on with the keyboard, and what was selected before it
let pointer = "mouse";
let pressed = false;

const tileOf = (event) => event.target.closest?.(".tile:has(.check)");
const listOf = (tile) => tile.closest('[role="list"]');

function startAt(tile) {
  anchor = { list: listOf(tile), row: pictureOf(tile).row };
}

// The pictures from the anchor to a tile of the same list.
function range(from, tile) {
  const pictures = picturesOf(listOf(tile));
  const place = (row) => pictures.findIndex((picture) => picture.row === row);
  const [first, last] = [place(from.row), place(pictureOf(tile).row)].sort((a, b) => a - b);
  return from.list === listOf(tile) && first >= 0 ? pictures.slice(first, last + 1) : [pictureOf(tile)];
}

function clicked(event) {
  const tile = tileOf(event);
  if (!tile || event.button || event.target.closest(".like")) return;
  const isCheck = event.target.closest(".check");
  const wanted = isCheck || pressed || event.shiftKey || event.ctrlKey || event.metaKey || (pointer === "touch" && size());
  if (!wanted) return;
  event.preventDefault();
  event.stopPropagation();
  if (pressed) return void (pressed = false);
  if (event.shiftKey && anchor) select(range(anchor, tile));
  else toggle(pictureOf(tile)), startAt(tile);
  if (pointer !== "touch") tile.querySelector(".cell").focus({ preventScroll: true });
}

function key(event) {
  if (document.querySelector("dialog[open]") || event.target.matches?.("input, select, textarea")) return;
  if (event.key === "Escape" && size()) return void clear();
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "a") return void (selectShown() && event.preventDefault());
  if (event.key === "Shift") return;
  const isRange = event.shiftKey && MOVES.includes(event.key);
  if (!isRange) extending = null;
  const tile = event.target.closest?.(".cell") && tileOf(event);
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "x") toggle(pictureOf(tile)), startAt(tile), event.preventDefault();
  else if (isRange && !extending) {
    if (!anchor || anchor.list !== listOf(tile) || !has(anchor.row)) startAt(tile);
    extending = { anchor, before: kept() };
    select(range(anchor, tile));
  }
}

// The keyboard has come to a picture, maybe after more were loaded.
function focused(event) {
  const tile = event.target.closest?.(".cell") && tileOf(event);
  if (extending && tile && listOf(tile) === extending.anchor.list) replace([...extending.before, ...range(extending.anchor, tile)]);
}

// All pictures that the lists of this view have in them. Whether there are any.
function selectShown() {
  const shown = [...document.querySelectorAll('main [role="list"]')].flatMap(picturesOf);
  select(shown);
  return shown.length > 0;
}

// What "all" means in this view.
export function allInWords() {
  const state = read();
  if (state.view !== "images" || isSearch(state)) return "All shown";
  return isFiltered(state) ? "All that pass" : "All images";
}

// All that the filters let through, also those that no page has told of; of other lists those that are shown.
export async function selectAll() {
  const state = read();
  if (state.view !== "images" || isSearch(state)) return void selectShown();
  try {
    const { images, rows } = await get("selection", filters(state));
    select(rows.map((row) => ({ row })));
    if (images > rows.length) toast(`At most ${MOST.toLocaleString("en")} images are selected at once: these are the newest.`);
  } catch (error) {
    toast(error.message);
  }
}

// A finger that stays on a picture selects it; one that moves scrolls.
function pressing() {
  let timer = null;
  let from = null;
  const stop = () => clearTimeout(timer);
  document.addEventListener("pointerdown", (event) => {
    pointer = event.pointerType;
    pressed = false;
    extending = null;
    stop();
    const tile = tileOf(event);
    if (pointer !== "touch" || !tile || event.target.closest("button")) return;
    from = event;
    timer = setTimeout(() => ((pressed = true), toggle(pictureOf(tile)), startAt(tile), navigator.vibrate?.(10)), LONG);
  });
  document.addEventListener("pointermove", (event) => from && Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > FAR && stop());
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, stop);
  document.addEventListener("contextmenu", (event) => pointer === "touch" && tileOf(event) && event.preventDefault());
}

export function startSelecting() {
  document.addEventListener("click", clicked, { capture: true });
  document.addEventListener("mousedown", (event) => event.shiftKey && tileOf(event) && event.preventDefault());
  document.addEventListener("keydown", key, { capture: true });
  document.addEventListener("focusin", focused);
  pressing();
}
