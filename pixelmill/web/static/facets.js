// What can be picked from: the values of columns with how many pictures have each, and ranges of numbers.

import { get } from "./api.js";
import { h, number } from "./dom.js";
import { clock, listed, text, titled, unitOf } from "./known.js";
import { filters, go, read } from "./state.js";

const SHOWN = 8;
let asking = null;
const unfolded = new Set();

// The facets for what the address says. The keyboard stays where it is.
export async function drawFacets(box, state) {
  asking?.abort();
  const { signal } = (asking = new AbortController());
  try {
    const { facets, others } = await get("facets", filters(state), signal);
    const here = document.activeElement?.closest(".facets") && document.activeElement.dataset.key;
    const hint = others.length ? h("p.quiet", {}, "A condition can also ask for ", others.slice(0, 40).join(", "), ".") : "";
    box.replaceChildren(...facets.map((facet) => (facet.values.length ? values(facet) : range(facet, state))), facets.length ? hint : "");
    if (here) [...box.querySelectorAll("[data-key]")].find((one) => one.dataset.key === here)?.focus();
  } catch (error) {
    if (error.name !== "AbortError") box.replaceChildren(h("p.warn", { role: "alert" }, error.message));
  }
}

// The conditions of the address as chips that can be taken away.
export const chosen = (state) => state.where.map((condition) => h("span.chip", {}, h("code", { title: condition, dir: "auto" }, plain(condition)),
  h("button.remove", { type: "button", "aria-label": `Remove ${plain(condition)}`, onclick: () => choose([condition], null) }, "×")));

// "label" = 'dog' without its first quotes.
const plain = (condition) => condition.replace(/^((?:year\()?)"(\w+)"/, "$1$2");

// One condition in place of others.
function choose(instead, condition) {
  const others = read().where.filter((one) => !instead.includes(one));
  return go({ view: "images", where: condition ? [...others, condition] : others });
}

function values(facet) {
  const [first, rest] = [facet.values.slice(0, SHOWN), facet.values.slice(SHOWN)];
  const folded = rest.length > 0 && h("details", { open: unfolded.has(facet.name) || rest.some((one) => one.chosen), ontoggle: (event) => unfolded[event.target.open ? "add" : "delete"](facet.name) },
    h("summary", {}, `${number(rest.length)} more`), ...rest.map((one) => value(facet, one)), facet.more ? h("p.quiet", {}, `and ${number(facet.more)} others`) : "");
  return h("section.facet", { "aria-label": titled(facet.name) }, h("h3", {}, titled(facet.name)), ...first.map((one) => value(facet, one)), folded);
}

function value(facet, one) {
  const own = facet.values.filter((other) => other.chosen).map((other) => other.where);
  const words = one.value === null ? h("em", {}, "not known") : text(named(facet, one.value));
  return h("button.value", { type: "button", "aria-pressed": String(one.chosen), "data-key": one.where, title: one.value ?? "", onclick: () => choose(own, one.chosen ? null : one.where) },
    words, h("span.quiet", {}, number(one.images)));
}

// A month is "May 2024".
function named({ kind, unit }, value) {
  if (kind === "time" && value.length > 4) return clock(Date.parse(`${value}-01T00:00:00Z`), { month: "long", year: "numeric" });
  return [kind === "text" ? listed(value) : value, unitOf(kind === "time" ? "" : unit)].filter((part) => part !== "").join(" ");
}

// From and to: each is a condition of its own.
function range(facet, state) {
  const field = (sign, label, hint) => {
    const begins = `${facet.sql} ${sign} `;
    const given = state.where.filter((one) => one.startsWith(begins) && Number.isFinite(Number(one.slice(begins.length))));
    const input = h("input", { type: "number", step: "any", placeholder: rounded(hint), value: given[0]?.slice(begins.length) ?? "", "aria-label": `${titled(facet.name)} ${label}`, "data-key": begins });
    input.addEventListener("change", () => choose(given, input.value && `${begins}${input.value}`));
    return input;
  };
  return h("section.facet", { "aria-label": titled(facet.name) }, h("h3", { title: facet.unit }, titled(facet.name), h("span.quiet", {}, facet.unit && ` ${unitOf(facet.unit)}`)),
    h(".range", {}, field(">=", "from", facet.least), h("span.quiet", {}, "to"), field("<=", "to", facet.greatest)));
}

const rounded = (value) => String(Number(value.toPrecision(4)));
