// Which pictures are selected, in whatever lists they are shown: kept while views change, and when the page is reloaded.

import { count, h, icon, toast } from "./dom.js";

export const MOST = 100_000;
const STORED = "selection";
const STORED_MOST = 20_000;
const selected = new Map(); // rows, each with the score by which it was found, or null
const lists = new WeakMap();
const listeners = [];
let store = null;

export const size = () => selected.size;
export const has = (row) => selected.has(row);

export function onSelect(listener) {
  listeners.push(listener);
}

// What was selected in this store before the page was reloaded.
export function restore(name) {
  store = name;
  const kept = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
  if (store && kept.store === store) for (const [row, score] of kept.selected) selected.set(row, score);
  tell();
}

addEventListener("pagehide", () => {
  const kept = selected.size <= STORED_MOST ? [...selected] : [];
  sessionStorage.setItem(STORED, JSON.stringify({ store, selected: kept }));
});

// Pictures, or their rows alone, are selected, or no longer.
export function select(pictures, on = true) {
  for (const { row, score = null } of pictures) {
    if (!on) selected.delete(row);
    else if (selected.size < MOST || selected.has(row)) selected.set(row, score ?? selected.get(row) ?? null);
    else return void (toast(`At most ${count(MOST, "image")} are selected at once.`), tell());
  }
  tell();
}

export const toggle = (picture) => select([picture], !has(picture.row));

// All of these, and no others.
export function replace(pictures) {
  selected.clear();
  select(pictures);
}

export const clear = () => replace([]);

// What is selected, as `replace` takes it.
export const kept = () => [...selected].map(([row, score]) => ({ row, score }));

// The pictures of a list in their order, also those that are not in the page.
export function ordered(list, pictures) {
  lists.set(list, pictures);
}

export const picturesOf = (list) => lists.get(list)?.() ?? [...list.querySelectorAll(".tile")].map(pictureOf).filter(Boolean);

export const pictureOf = (tile) => tile.picture;

// What selects a picture, and shows that it is.
export function box(picture) {
  return h("button.check", { type: "button", role: "checkbox", tabindex: -1, "aria-checked": "false", "aria-label": `Select ${picture.name}`, title: "Select (x)" }, icon("check"));
}

// A tile as its picture is by now.
export function mark(tile) {
  const picked = has(pictureOf(tile).row);
  tile.classList.toggle("selected", picked);
  tile.querySelector(".check").setAttribute("aria-checked", String(picked));
  tile.querySelector(".is-selected").textContent = picked ? "selected" : "";
}

function tell() {
  document.body.classList.toggle("selecting", selected.size > 0);
  for (const tile of document.querySelectorAll(".tile:has(.check)")) mark(tile);
  for (const listener of listeners) listener();
}
