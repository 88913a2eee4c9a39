// The box on top: words, pictures, chips for what is added and subtracted, and filters.

import { get, upload, whileBusy } from "./api.js";
import { h, icon, toast } from "./dom.js";
import { shrunk } from "./shrink.js";
import { drawFacets } from "./facets.js";
import { addTerm, filters, go, isFiltered, read, searchFor, unfiltered } from "./state.js";
import { termsIn, times, turned, typed, weighed } from "./terms.js";

const form = document.getElementById("search");
const input = document.getElementById("query");
const chips = document.getElementById("chips");
const panel = document.getElementById("filters");
const toggle = document.getElementById("filter");

export function startSearchBox() {
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  form.addEventListener("click", (event) => event.target === form && input.focus());
  input.addEventListener("keydown", (event) => event.key === "Backspace" && !input.value && takeBack(event));
  document.getElementById("file").addEventListener("change", (event) => {
    if (event.target.files.length) searchWith(event.target.files[0]);
    event.target.value = "";
  });
  document.getElementById("pick").addEventListener("keydown", (event) => event.key === "Enter" && event.target.click());
  toggle.addEventListener("click", () => showFilters(panel.hidden));
  startDrops();
}

let most;

// The largest picture that the server takes, in bytes.
export const setMostBytes = (bytes) => (most = bytes);

export const focusSearch = () => (input.focus(), input.select());

// What the box shows is what the address says.
export function drawSearchBox(state, models) {
  const terms = ["text", "row", "image"].flatMap((kind) => state[kind].map((term) => chip(kind, term)));
  chips.replaceChildren(...terms);
  const words = models.some((model) => model.text && (!state.model || model.name === state.model));
  input.placeholder = terms.length ? "add, or -subtract" : words ? "beach at night -people" : "Drop a picture, or pick one";
  toggle.classList.toggle("on", isFiltered(state));
  if (!panel.hidden) drawFilters(state);
}

function submit() {
  const terms = termsIn(input.value);
  input.value = "";
  if (terms.length) go({ view: "images", text: [...read().text.filter((old) => !terms.includes(old)), ...terms] });
  else document.querySelector('.cell[tabindex="0"]')?.focus();
}

// Backspace in an empty box: words go back into it to be changed, pictures go.
function takeBack(event) {
  const state = read();
  const kind = ["image", "row", "text"].find((name) => state[name].length);
  if (!kind) return;
  event.preventDefault();
  if (kind === "text") input.value = typed(state.text.at(-1));
  go({ [kind]: state[kind].slice(0, -1) });
}

function chip(kind, term) {
  const [weight, value] = weighed(term, kind);
  const replace = (by) => go({ [kind]: read()[kind].flatMap((old) => (old === term ? by : [old])) });
  const name = kind === "text" ? value : "picture";
  const flip = h("button.sign", { type: "button", title: "Add or subtract", "aria-label": weight < 0 ? `Add ${name} instead` : `Subtract ${name} instead`, onclick: () => replace([turned(term, kind)]) }, weight < 0 ? "−" : "+");
  const remove = h("button.remove", { type: "button", "aria-label": `Remove ${name}`, onclick: () => replace([]) }, "×");
  const words = times(weight) + (kind === "text" ? value : "");
  return h(`span.chip${weight < 0 ? ".minus" : ""}`, {}, flip, words ? h("span", {}, words) : "", kind === "text" ? "" : thumbnail(kind, value), remove);
}

function thumbnail(kind, value) {
  const address = kind === "row" ? `/api/images/${value}/thumbnail?size=160` : `/api/uploads/${value}/thumbnail`;
  return h("img", { src: address, alt: kind === "row" ? `image ${value}` : "your picture", width: 30, height: 30 });
}

export async function searchWith(file) {
  try {
    const { image } = await upload(await whileBusy(() => shrunk(file, most)));
    const state = read();
    const [plain] = [!state.text.length && !state.row.length];
    if (plain) searchFor("image", image);
    else addTerm("image", image);
  } catch (error) {
    toast(error.message);
  }
}

function startDrops() {
  const cover = document.getElementById("drop");
  const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const over = (by) => (depth = Math.max(0, depth + by), (cover.hidden = depth === 0));
  addEventListener("dragenter", (event) => holds(event) && (event.preventDefault(), over(1)));
  addEventListener("dragover", (event) => holds(event) && event.preventDefault());
  addEventListener("dragleave", (event) => holds(event) && over(-1));
  addEventListener("drop", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    over(-depth);
    if (event.dataTransfer.files.length) searchWith(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (file) searchWith(file);
  });
}

function showFilters(shown) {
  panel.hidden = !shown;
  toggle.setAttribute("aria-expanded", String(shown));
  if (shown) {
    drawFilters(read());
    panel.querySelector("input").focus();
  }
}

// Fields that are being filled in are left alone; the facets always follow.
function drawFilters(state) {
  const old = panel.querySelector("form");
  if (!old) panel.replaceChildren(fields(state), h(".facets"));
  else if (!old.contains(document.activeElement)) old.replaceWith(fields(state));
  drawFacets(panel.querySelector(".facets"), state);
}

function fields(state) {
  const field = (name, label, attributes) => h("label", {}, label, h("input", { name, value: state[name] ?? "", ...attributes }));
  const wrong = h("p.warn.wrong", { role: "alert", id: "wrong" });
  const apply = async (event) => {
    event.preventDefault();
    const { where, ...given } = Object.fromEntries(new FormData(event.target));
    const now = read();
    const changed = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value || null]));
    const conditions = where.trim() && !now.where.includes(where.trim()) ? [...now.where, where.trim()] : now.where;
    try {
      if (conditions !== now.where) await get("facets", { ...filters({ ...now, ...changed }), where: conditions });
      wrong.textContent = "";
      document.activeElement.blur();
      go({ view: "images", ...changed, where: conditions });
    } catch (error) {
      wrong.textContent = error.message;
    }
  };
  const clear = () => (go(unfiltered), showFilters(false));
  return h("form", { onsubmit: apply },
    field("glob", "Path", { placeholder: "animals/*", spellcheck: "false" }),
    field("since", "Taken from", { type: "date", title: "Of a picture that does not say when it was taken: its file's last change" }),
    field("until", "Until", { type: "date", title: "Of a picture that does not say when it was taken: its file's last change" }),
    field("min_size", "Shorter edge, pixels at least", { type: "number", min: 1, placeholder: "1000" }),
    h("label.where", {}, "Condition in SQL", h("input", { name: "where", maxlength: 2000, placeholder: "sharpness > 20 AND caption LIKE '%beach%'", spellcheck: "false", autocapitalize: "off", "aria-describedby": "wrong" })),
    h("button.action.primary", { type: "submit" }, "Apply"),
    h("button.action", { type: "button", onclick: clear }, "Clear"),
    wrong,
  );
}
