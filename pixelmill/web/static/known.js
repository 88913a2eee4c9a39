// What is known of a picture beside its file: its caption, its facts, and what came with it.

import { h, number } from "./dom.js";

const APART = new Set(["caption", "title", "bytes"]);
const MOST_DIGITS = 4;

// `taken_at` is "Taken at", for people.
export const titled = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");

// The unit in short: "grey levels, 0 to 255" is "grey levels".
export const unitOf = (unit) => unit.split(",")[0];

// A time as its clock showed it.
export function clock(value, how = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" }) {
  const shown = new Date(Number(value));
  return Number.isNaN(shown.getTime()) ? String(value) : shown.toLocaleString("en-GB", { timeZone: "UTC", ...how });
}

// Texts are never markup, and turn nothing round them when they are written from right to left.
export const text = (words, tag = "span") => h(tag, { dir: "auto" }, words);

// The caption and the title, as large as they are.
export function said(columns) {
  const words = Object.fromEntries(columns.filter(({ name, kind, value }) => APART.has(name) && kind === "text" && value).map(({ name, value }) => [name, value]));
  return [words.title && text(words.title, "p.title"), words.caption && text(words.caption, "p.said")].filter(Boolean);
}

// [name, …values] of all others, what people look for first.
export function facts(columns) {
  const known = new Map(columns.filter(({ value }) => value !== null).map((column) => [column.name, column]));
  const take = (name) => {
    const value = known.get(name)?.value;
    known.delete(name);
    return value;
  };
  for (const name of APART) if (name === "bytes" || known.get(name)?.kind === "text") known.delete(name);
  if (known.get("frames")?.value === 1) known.delete("frames");
  const first = [...taken(known, take), ...["camera", "lens"].flatMap((name) => (known.get(name)?.kind === "text" ? [[titled(name), text(take(name))]] : [])), ...places(known, take)];
  return [...first, ...[...known.values()].map((column) => [titled(column.name), shown(column)])];
}

// `taken_at` with its offset; so also those of Takeout and XMP.
function taken(known, take) {
  const times = [...known.values()].filter(({ name, kind }) => kind === "time" && name.endsWith("taken_at"));
  return times.map(({ name, unit }) => {
    const from = name.slice(0, -"taken_at".length);
    const offset = known.get(`${from}taken_offset`)?.kind === "number" ? take(`${from}taken_offset`) : undefined;
    return [named("Taken", from), clock(take(name)) + (offset === undefined ? zone(unit) : ` (${ahead(offset)})`)];
  });
}

const zone = (unit) => (unit.includes("clock") ? "" : " UTC");

// Minutes ahead of UTC: -210 is "UTC−3:30".
function ahead(minutes) {
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `UTC${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

// Coordinates. Nothing is asked of a map until somebody follows the link.
function places(known, take) {
  const found = [...known.values()].filter(({ name, kind }) => kind === "number" && name.endsWith("latitude")).map(({ name }) => name.slice(0, -"latitude".length));
  return found.flatMap((from) => {
    const [latitude, longitude, altitude] = ["latitude", "longitude", "altitude"].map((name) => known.get(from + name)?.value);
    if (typeof latitude !== "number" || typeof longitude !== "number") return [];
    for (const name of ["latitude", "longitude", "altitude"]) take(from + name);
    const words = `${degrees(latitude, "N", "S")}, ${degrees(longitude, "E", "W")}`;
    const map = `https://www.openstreetmap.org/?mlat=${latitude.toFixed(6)}&mlon=${longitude.toFixed(6)}#map=15/${latitude.toFixed(6)}/${longitude.toFixed(6)}`;
    const link = h("a", { href: map, target: "_blank", rel: "noopener noreferrer", title: "Show it at openstreetmap.org" }, words);
    return [[named("Place", from), h("span", {}, link, typeof altitude === "number" ? `, ${number(Math.round(altitude))} m` : "")]];
  });
}

const degrees = (value, positive, negative) => `${Math.abs(value).toFixed(5)}° ${value < 0 ? negative : positive}`;

// "Taken (takeout)" is not what the picture itself says.
const named = (what, from) => (from ? `${what} (${from.replace(/_$/, "").replaceAll("_", " ")})` : what);

function shown({ kind, unit, value }) {
  if (kind === "time") return clock(value) + zone(unit);
  if (kind === "text") return text(listed(value));
  const digits = typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: Number.isInteger(value) ? 21 : MOST_DIGITS }) : value;
  return [digits, unitOf(unit)].filter(Boolean).join(" ");
}

// Keywords and people come as JSON: a list of texts.
export function listed(value) {
  if (!value.startsWith("[")) return value;
  try {
    const words = JSON.parse(value);
    return words.every((word) => typeof word === "string") ? words.join(", ") : value;
  } catch {
    return value;
  }
}
