// What is shown, kept in the address: it can be gone back to, reloaded and sent to somebody.

const LISTS = ["text", "row", "image"];
const VALUES = ["view", "model", "glob", "since", "until", "min_size", "threshold", "reason"];
const listeners = [];

export const VIEWS = ["images", "map", "duplicates", "coverage", "quarantine", "nights"];

export function read() {
  const query = new URLSearchParams(location.search);
  const state = {};
  for (const name of LISTS) state[name] = query.getAll(name);
  for (const name of VALUES) state[name] = query.get(name);
  if (!VIEWS.includes(state.view)) state.view = "images";
  return state;
}

export function address(state) {
  const query = new URLSearchParams();
  for (const name of VALUES) if (state[name] && state[name] !== "images") query.set(name, state[name]);
  for (const name of LISTS) for (const value of state[name]) query.append(name, value);
  return query.size ? `/?${query}` : "/";
}

// Show what is different in `changes`; `replace` leaves no step to go back to.
export function go(changes, { replace = false } = {}) {
  const state = { ...read(), ...changes };
  history[replace ? "replaceState" : "pushState"](null, "", address(state));
  tell();
}

export function onChange(listener) {
  listeners.push(listener);
}

export function tell() {
  const state = read();
  for (const listener of listeners) listener(state);
}

export const isSearch = (state) => LISTS.some((name) => state[name].length);

export const filters = ({ glob, since, until, min_size }) => ({ glob, since, until, min_size });

export const isFiltered = (state) => Object.values(filters(state)).some(Boolean);

export const signed = (term) => (term.startsWith("-") ? ["-", term.slice(1)] : ["+", term]);

export const turned = (term) => (term.startsWith("-") ? term.slice(1) : `-${term}`);

// "beach -people" is two terms; a hyphen inside a word is a hyphen.
export function parse(text) {
  const parts = text.trim().split(/\s+(?=[+-]\S)/).filter(Boolean);
  return parts.map((part) => part.replace(/^\+/, "").replace(/^(-?)"(.*)"$/, "$1$2").trim()).filter((part) => part && part !== "-");
}

export function searchFor(kind, value) {
  go({ view: "images", text: [], row: [], image: [], [kind]: [value] });
}

export function addTerm(kind, value) {
  const state = read();
  go({ view: "images", [kind]: [...state[kind].filter((term) => signed(term)[1] !== signed(value)[1]), value] });
}

addEventListener("popstate", () => tell());
