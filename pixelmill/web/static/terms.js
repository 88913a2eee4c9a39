// How terms of a query are written; the same as pixelmill/search/terms.py, which says what it means.

const WEIGHT = String.raw`(?:[0-9]{1,4}(?:\.[0-9]{1,4})?|\.[0-9]{1,4}):`;
const MARKED = new RegExp(`^([+-]?)(${WEIGHT})?(.*)$`, "s");
const MARK = `(?:[+-]?${WEIGHT}(?![0-9])|[+-])`;
const TERM = new RegExp(String.raw`\s*(${MARK}?)(?:"([^"]+)"(?=\s|$)|(.+?)(?=\s+${MARK}\S|\s+"[^"]+"(?:\s|$)|\s*$))`, "gs");

// The weight of a term of a kind, "text" or another, and what it is about: `-0.5:people` is [-0.5, "people"].
export function weighed(term, kind = "text") {
  if (/^\s/.test(term)) return [1, term.trim()];
  const [, sign, number = "", rest] = MARKED.exec(term);
  const words = kind === "text" && number && /^[0-9]/.test(rest) ? number + rest : rest;
  const weight = number && words === rest ? Number(number.slice(0, -1)) : 1;
  return [sign === "-" ? -weight : weight, words.trim()];
}

// A term that is taken apart so again.
export function written(weight, value) {
  const [, sign, number] = MARKED.exec(value);
  const plain = !sign && !number;
  if (weight === 1) return plain ? value : ` ${value}`;
  return weight === -1 && plain ? `-${value}` : `${weight}: ${value}`;
}

export function turned(term, kind) {
  const [weight, value] = weighed(term, kind);
  return written(-weight, value);
}

// The terms of a line: "beach -people" has two; a hyphen inside a word is a hyphen; quotes are taken at their word.
export function termsIn(line) {
  const found = [...line.trim().matchAll(TERM)].map(([, mark, quoted, words]) =>
    quoted ? written(weighed(`${mark} `)[0], quoted) : mark.replace("+", "") + words,
  );
  return found.filter((term) => term.replace(/^[ +-]+$/, ""));
}

// A term as it is typed in a line.
export const typed = (term) => (term.startsWith(" ") ? `"${term.trim()}"` : term);

// How much a term counts, for people: "2 × ", or nothing.
export const times = (weight) => (Math.abs(weight) === 1 ? "" : `${Math.abs(weight)} × `);

// A whole query, as a heading has it.
export function inWords(state) {
  if (state.row.length + state.image.length === 1 && !state.text.length) return "Similar images";
  const told = [...state.text.map((term) => weighed(term)), ...["row", "image"].flatMap((kind) => state[kind].map((term) => named(kind, term)))];
  return told.map(([weight, value], i) => `${weight < 0 ? "− " : i ? "+ " : ""}${times(weight)}${value}`).join(" ");
}

function named(kind, term) {
  const [weight, value] = weighed(term, kind);
  return [weight, kind === "row" ? `image ${value}` : "your picture"];
}
