// What people called pictures: shown on them as soon as it is given.

import { h } from "./dom.js";

const given = new Map(); // of rows by name: what was given, or taken away (null), since the page told of them

// What the page was told, but for what was given since; a run may have made a column of that meanwhile.
function labelsOf({ row, labels }) {
  const since = given.get(row);
  if (!since) return labels;
  const of = (name) => labels.find((one) => one.name === name);
  const now = [...since].map(([name, value]) => (of(name)?.value === value ? of(name) : { name, value, pending: true }));
  const all = [...labels.filter(({ name }) => !since.has(name)), ...now.filter(({ value }) => value !== null)];
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}

// Pictures have another label, or none any more.
export function remember(rows, name, value) {
  for (const row of rows) given.set(row, (given.get(row) ?? new Map()).set(name, value));
  for (const [where, draw] of [[".tags", tags], [".labels", facts]]) {
    for (const shown of document.querySelectorAll(where)) if (given.has(shown.picture.row)) shown.replaceWith(draw(shown.picture));
  }
}

const KEEP = { yes: "keep", no: "don't keep" };

const LATER = "a column with the next run";

// On a picture in a list.
export function tags(picture) {
  const tag = ({ name, value, pending }) => h(`span.tag${pending ? ".pending" : ""}`, { dir: "auto", title: `${name}: ${value}${pending ? `, ${LATER}` : ""}` }, (name === "keep" && KEEP[value]) || value);
  return of(picture, h("span.tags", {}, ...labelsOf(picture).map(tag)));
}

// Beside one picture.
export function facts(picture) {
  const fact = ({ name, value, pending }) => h("span.tag", {}, `${name}: `, h("bdi", {}, value), pending && h("span.quiet", { title: LATER }, " (pending)"));
  return of(picture, h("p.labels", {}, ...labelsOf(picture).map(fact)));
}

const of = (picture, element) => Object.assign(element, { picture });
