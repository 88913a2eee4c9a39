// What is shown, kept in the address: it can be gone back to, reloaded and sent to somebody.

import { newStep, step } from "./memory.js";
import { weighed } from "./terms.js";

const TERMS = ["text", "row", "image"];
const LISTS = [...TERMS, "where", "only"];
const VALUES = ["view", "model", "glob", "since", "until", "min_size", "beside", "by", "evaluation", "threshold", "min_score", "reason", "from", "open"];
const listeners = [];

export const VIEWS = ["images", "map", "clusters", "duplicates", "compared", "coverage", "quarantine", "nights"];

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

let returning = null;

// Show what is different in `changes`; `replace` leaves no step to go back to. A new view begins at its beginning.
export async function go(changes, { replace = false } = {}) {
  await returning;
  const state = { ...read(), open: null, from: null, ...changes };
  history[replace ? "replaceState" : "pushState"](newStep(), "", address(state));
  tell();
}

// What a view changes of itself, without being drawn anew.
export function keep(changes) {
  history.replaceState(history.state, "", address({ ...read(), ...changes }));
}

// A picture laid over the list: a step that Back takes back, with the list where it was below it.
export function lay(row) {
  history.pushState({ step: step(), over: true }, "", address({ ...read(), open: String(row) }));
}

export function layAnother(row) {
  history.replaceState(history.state, "", address({ ...read(), open: String(row) }));
}

export const isLaid = () => Boolean(history.state?.over);

// The list without the picture over it.
export function uncover() {
  if (!isLaid()) return void history.replaceState(history.state, "", address({ ...read(), open: null }));
  returning = new Promise((done) => addEventListener("popstate", done, { once: true })).then(() => (returning = null));
  history.back();
}

export function onChange(listener) {
  listeners.push(listener);
}

export function tell() {
  const state = read();
  for (const listener of listeners) listener(state);
}

export const isSearch = (state) => TERMS.some((name) => state[name].length);

export const filters = ({ glob, since, until, min_size, where }) => ({ glob, since, until, min_size, where });

export const isFiltered = (state) => Object.values(filters(state)).some((given) => given?.length);

export const unfiltered = { glob: null, since: null, until: null, min_size: null, where: [] };

export function searchFor(kind, value, how = {}) {
  return go({ view: "images", text: [], row: [], image: [], min_score: null, [kind]: [value] }, how);
}

export function addTerm(kind, value, how = {}) {
  const state = read();
  return go({ view: "images", [kind]: [...state[kind].filter((term) => weighed(term, kind)[1] !== weighed(value, kind)[1]), value] }, how);
}

addEventListener("popstate", () => tell());
