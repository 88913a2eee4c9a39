// What can be done with what is selected: a bar at the bottom of the page.

import { button, h, icon, number, toast } from "./dom.js";
import { give, knownLabels, labelDialog, saveTable } from "./labelling.js";
import { allInWords, selectAll, startSelecting } from "./selecting.js";
import { clear, kept, onSelect, replace, restore, size } from "./selection.js";
import { onChange } from "./state.js";

const told = h("strong");
const heard = h("p.visually-hidden", { role: "status" });
const all = h("button.action.slim", { type: "button", onclick: selectAll });
const bar = h("section.selection", { "aria-label": "Selection", hidden: true },
  button("close", "Select nothing (Esc)", clear), told, all,
  h(".do", {},
    act("label", "Label", "Give these images a label (l)", () => label(kept())),
    act("keep", "Keep", "Label these as to be kept: keep = yes", () => decide("yes")),
    act("drop", "Don't keep", "Label these as not to be kept: keep = no. Nothing is deleted", () => decide("no")),
    act("table", "Table", "Save a table of these images (CSV)", () => saveTable(kept()).catch((error) => toast(error.message))),
  ));
let model = "…";

function act(name, words, title, onclick) {
  return h("button.action", { type: "button", title, onclick }, icon(name), h("span", {}, words));
}

// The bar, and all ways to select, for a store.
export function startActions(store) {
  const served = store.models.filter((one) => one.generation === "serving");
  model = (served.find((one) => one.default) ?? served[0])?.name ?? model;
  document.body.append(bar, heard);
  onSelect(draw);
  onChange(draw);
  startSelecting();
  document.addEventListener("keydown", (event) => {
    if (event.key !== "l" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (!size() || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    label(kept());
  });
  restore(store.store);
}

function draw() {
  const words = size() ? `${number(size())} selected` : "";
  bar.hidden = !words;
  all.textContent = allInWords();
  if (told.textContent !== words) told.textContent = heard.textContent = words;
}

const label = (pictures, more = {}) => labelDialog(pictures, { ...more, model, after: (words) => finish(pictures, words) });

// A picture by itself, be it selected or not.
export const labelOne = (picture) => labelDialog([picture], { model, after: (words) => words && toast(words) });

// What has been labelled is selected no longer, so that the next label does not come on top of it.
function finish(pictures, words) {
  if (!words) return;
  clear();
  toast(words, h("button.action.slim", { type: "button", onclick: () => replace(pictures) }, "Select them again"));
}

async function decide(value) {
  const pictures = kept();
  if ((await knownLabels()).why_not) return label(pictures, { name: "keep", value });
  try {
    finish(pictures, await give(pictures, "keep", value));
  } catch (error) {
    toast(error.message);
  }
}
