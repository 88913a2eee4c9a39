// The page: views, keys, theme, signing in.

import { startActions } from "./actions.js";
import { get, onSignIn, openSession } from "./api.js";
import { toggleBeside } from "./beside.js";
import { h, icon } from "./dom.js";
import { followLightbox } from "./lightbox.js";
import { memory, newStep, step } from "./memory.js";
import { address, go, onChange, read, tell, VIEWS } from "./state.js";
import { drawSearchBox, focusSearch, setMostBytes, startSearchBox } from "./searchbox.js";
import { showClusters } from "./clusters.js";
import { showCompared } from "./compared.js";
import { showCoverage } from "./coverage.js";
import { showDuplicates } from "./duplicates.js";
import { showImages } from "./images.js";
import { showMap } from "./map.js";
import { showNights } from "./nights.js";
import { showQuarantine } from "./quarantine.js";
import { KEYS as SELECT_KEYS } from "./selecting.js";

const SHOW = { images: showImages, map: showMap, clusters: showClusters, duplicates: showDuplicates, compared: showCompared, coverage: showCoverage, quarantine: showQuarantine, nights: showNights };
const TITLES = { images: "Images", map: "Map", clusters: "Clusters", duplicates: "Duplicates", compared: "Models", coverage: "Coverage", quarantine: "Quarantine", nights: "Nights" };
const ICONS = { images: "images", map: "map", clusters: "clusters", duplicates: "twins", compared: "compared", coverage: "coverage", quarantine: "quarantine", nights: "nights" };
const main = document.getElementById("main");
const chooser = document.getElementById("model");
let store = { models: [], ensembles: [], quarantined: 0, images: 0 };
let leaving = new AbortController();
let drawn = null;
let drawing = false;

// A picture that is laid over a list, or taken away, changes nothing of the list; what is chosen on a map, the map shows.
function follow(state) {
  const shown = `${step()} ${address({ ...state, open: null, only: [] })}`;
  if (shown !== drawn) {
    followLightbox({ open: null });
    drawn = shown;
    draw(state);
  }
  followLightbox(state);
}

async function draw(state) {
  leaving.abort();
  leaving = new AbortController();
  document.title = `${TITLES[state.view]} · Pixelmill`;
  drawViews(state);
  drawModels(state);
  drawSearchBox(state, store.models);
  main.className = state.view;
  main.replaceChildren();
  drawing = true;
  const { y } = memory();
  scrollTo(0, 0);
  const single = ["map", "duplicates"].includes(state.view) && store.ensembles.includes(state.model);
  const { signal } = leaving;
  await SHOW[state.view](main, single ? { ...state, model: null } : state, store, signal);
  if (signal.aborted) return;
  if (state.view !== "images") scrollTo(0, y);
  requestAnimationFrame(() => (drawing = signal.aborted));
}

addEventListener("scroll", () => drawing || (memory().y = scrollY), { passive: true });

function drawViews(state) {
  const links = VIEWS.map((view) => {
    const badge = view === "quarantine" && store.quarantined ? h("span.badge", {}, String(store.quarantined)) : "";
    const link = h("a", { href: `/?view=${view}`, "aria-current": view === state.view ? "page" : false }, icon(ICONS[view]), h("span", {}, TITLES[view]), badge);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go({ view, reason: null, ...(view === "images" && state.view === "images" ? { text: [], row: [], image: [] } : {}) });
    });
    return link;
  });
  const box = document.getElementById("views");
  box.replaceChildren(...links);
  const here = box.querySelector("[aria-current]");
  box.scrollLeft = here.offsetLeft - (box.clientWidth - here.offsetWidth) / 2;
}

function drawModels(state) {
  const served = store.models.filter((model) => model.generation === "serving");
  const chosen = state.model ?? served.find((model) => model.default)?.name;
  const names = [...served.map((model) => model.name), ...store.ensembles];
  chooser.replaceChildren(...names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  chooser.closest("label").hidden = served.length === 0;
}

async function loadStore() {
  store = await get("store");
  setMostBytes(store.upload_bytes);
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const toggle = document.getElementById("theme");
  const apply = () => {
    const chosen = localStorage.getItem("theme");
    const isDark = chosen ? chosen === "dark" : dark.matches;
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    toggle.replaceChildren(icon(isDark ? "sun" : "moon"));
    document.dispatchEvent(new CustomEvent("theme"));
  };
  toggle.addEventListener("click", () => {
    localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

const KEYS = [
  ["/", "search"], ["← → ↑ ↓", "move through the images"], ["Enter", "look at one; Esc goes back"], ["s", "similar images"],
  ["+  −", "add it to the search, subtract it"], [`1 … ${VIEWS.length}`, VIEWS.map((view) => TITLES[view]).join(", ")],
  ["b", "two models side by side, for a search"], ...SELECT_KEYS,
  ["Backspace", "in the empty box: take back the last part"], ["?", "these keys"],
];

function showKeys() {
  const rows = KEYS.map(([key, does]) => h("tr", {}, h("th", {}, h("kbd", {}, key)), h("td", {}, does)));
  const close = h("button.action.primary", { type: "submit" }, "Close");
  const dialog = h("dialog.small", { "aria-label": "Keys", onclose: () => dialog.remove() }, h("form", { method: "dialog" }, h("h2", {}, "Keys"), h("table", {}, ...rows),
    h("p.quiet", {}, "Drop a picture anywhere, or paste one, to find what looks like it."), close));
  document.body.append(dialog);
  dialog.showModal();
}

function startKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && event.target.matches("input")) document.querySelector('.cell[tabindex="0"]')?.focus() ?? event.target.blur();
    if (event.target.matches("input, select, textarea")) return;
    if (event.key === "/") focusSearch();
    else if (event.key === "?") showKeys();
    else if (event.key === "b") toggleBeside(store);
    else if (VIEWS[event.key - 1]) go({ view: VIEWS[event.key - 1] });
    else if (event.key === "ArrowDown" && event.target === document.body) document.querySelector('.cell[tabindex="0"]')?.focus();
    else return;
    event.preventDefault();
  });
  document.getElementById("help").addEventListener("click", showKeys);
}

// The token: from the address (#token=…, which no server sees), else from the person. Asked once, however many wait.
let signingIn = null;
function signIn() {
  signingIn ??= (takeToken() ?? askToken()).finally(() => (signingIn = null));
  return signingIn;
}

function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return openSession(token).catch(askToken);
}

function askToken(problem) {
  return new Promise((done) => {
    const field = h("input", { type: "password", required: true, autocomplete: "current-password", "aria-label": "Token" });
    const words = h("p.warn", { role: "alert" }, problem?.message ?? "");
    const form = h("form", {}, h("h2", {}, "This gallery asks for a token"), h("p.quiet", {}, "Whoever started it with `pixelmill serve` knows it."), field, words,
      h("button.action.primary", { type: "submit" }, "Open the gallery"));
    const dialog = h("dialog.small", { "aria-label": "Sign in", oncancel: (event) => event.preventDefault() }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await openSession(field.value);
        dialog.remove();
        done();
      } catch (error) {
        words.textContent = error.message;
        field.select();
      }
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
document.querySelector("[data-home]").addEventListener("click", (event) => (event.preventDefault(), history.pushState(newStep(), "", "/"), tell()));
chooser.addEventListener("change", () => go({ model: chooser.value, min_score: null }));
onSignIn(signIn);
startTheme();
startSearchBox();
startKeys();
onChange(follow);
try {
  await loadStore();
} catch (error) {
  store = { ...store, problem: error.message };
}
startActions(store);
if (!history.state?.step) history.replaceState(newStep(), "");
follow(read());
