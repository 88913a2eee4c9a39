// What the colours of a map say: values with a legend that can be chosen from, or a scale with its ends.

import { count, h, number } from "./dom.js";
import { clock, listed, text, unitOf } from "./known.js";
import { go, keep, unfiltered } from "./state.js";

const TOLD_APART = 10;
const STEPS = 64;
const LONGEST = 1900;

// `only` are the values that were chosen, as the address has them; `redraw` is called when they change.
export function colouring(points, only, redraw) {
  return points.scale ? new Scale(points) : new Values(points, only, redraw);
}

const key = (value) => (value === null ? "" : String(value));

class Values {
  constructor(points, only, redraw) {
    Object.assign(this, { points, redraw });
    this.entries = [...points.values, ...(points.unknown.images ? [points.unknown] : [])];
    this.only = only.map((value) => this.entries.findIndex((entry) => key(entry.value) === value)).filter((at) => at >= 0);
    this.legend = h("div");
    this.drawLegend();
  }

  // The entry of a point; none for one with a value that is not told.
  entry(i) {
    const code = this.points.codes[i];
    return code === -1 ? this.points.values.length : code;
  }

  // Which colour an entry has. Of those beyond the commonest, the chosen ones have one too; what is not chosen steps back.
  slot(at) {
    if (this.entries[at]?.value === null) return "none";
    if (at < 0 || (this.only.length && !this.only.includes(at))) return "other";
    if (at < TOLD_APART) return at;
    const place = this.only.filter((one) => one >= TOLD_APART).indexOf(at);
    const free = Array.from({ length: TOLD_APART }, (_, slot) => slot).filter((slot) => !this.only.includes(slot));
    return place < 0 ? "other" : (free[place] ?? "other");
  }

  read(style) {
    const known = new Map(this.entries.map((_, at) => [at, style.getPropertyValue(`--colour-${this.slot(at)}`)]));
    const other = style.getPropertyValue("--colour-other");
    return { of: (i) => known.get(this.entry(i)) ?? other, rank: (i) => (this.isFaint(i) ? 0 : this.slot(this.entry(i)) === "other" ? 1 : 2) };
  }

  isFaint(i) {
    return this.only.length > 0 && !this.only.includes(this.entry(i));
  }

  told(i) {
    return this.entries[this.entry(i)] ? words(this.entries[this.entry(i)].value) : "another value";
  }

  // Clusters are called by the path of a picture, whose end says most.
  short(value) {
    return this.points.by === "cluster" ? String(value).split("/").at(-1) : words(value);
  }

  choose(at) {
    this.only = this.only.includes(at) ? this.only.filter((one) => one !== at) : [...this.only, at];
    keep({ only: this.only.map((one) => key(this.entries[one].value)) });
    const again = document.activeElement?.dataset.at;
    this.drawLegend();
    this.legend.querySelector(`[data-at="${again}"]`)?.focus();
    this.redraw();
  }

  drawLegend() {
    const value = (entry, at) => h("button.value", { type: "button", "aria-pressed": String(this.only.includes(at)), "data-at": at, title: words(entry.value), onclick: () => this.choose(at) },
      h(`i.colour-${this.slot(at)}`), entry.value === null ? h("em", {}, "not known") : text(this.short(entry.value)), h("span.quiet", {}, number(entry.images)));
    const scrolled = this.legend.querySelector(".map-legend")?.scrollTop ?? 0;
    const beyond = this.points.others ? h("p.quiet", {}, `${count(this.points.others, "image has another value", "images have other values")}.`) : "";
    const list = h(".map-legend", { role: "group", "aria-label": "Values" }, ...this.entries.map(value), beyond);
    this.legend.replaceChildren(list, this.onward());
    list.scrollTop = scrolled;
  }

  // From what is chosen to a list of it.
  onward() {
    const chosen = this.only.map((at) => this.entries[at]);
    const where = chosen.map((entry) => (chosen.length > 1 ? `(${entry.where})` : entry.where)).join(" OR ");
    if (!chosen.length) return h("p.quiet", {}, "Choose one to see where it lies.");
    const images = chosen.reduce((sum, entry) => sum + entry.images, 0);
    const all = h("button.action.slim", { type: "button", onclick: () => this.clear() }, "All");
    if (chosen.some((entry) => !entry.where) || where.length > LONGEST) return h("p.onward", {}, all);
    const show = () => go({ view: "images", text: [], row: [], image: [], ...unfiltered, where: [where], only: [] });
    return h("p.onward", {}, h("button.action.slim.primary", { type: "button", onclick: show }, `Show ${count(images, "image")}`), all);
  }

  clear() {
    this.only = [];
    keep({ only: [] });
    this.drawLegend();
    this.legend.querySelector("button")?.focus();
    this.redraw();
  }
}

const words = (value) => (value === null ? "not known" : typeof value === "string" ? listed(value) : String(value));

class Scale {
  constructor({ scale, unknown }) {
    this.scale = scale;
    const ends = [[scale.low, scale.least, "≤ "], [scale.high, scale.greatest, "≥ "]].map(([end, last, sign]) => h("span", {}, `${end === last ? "" : sign}${this.words(end)}`));
    const unit = scale.kind === "number" ? unitOf(scale.unit) : "";
    const all = scale.low > scale.least || scale.high < scale.greatest ? `all of it: ${this.words(scale.least)} to ${this.words(scale.greatest)}` : "";
    const missing = unknown.images ? h("p.unknown", {}, h("i.colour-none"), h("em", {}, "not known"), h("span.quiet", {}, number(unknown.images))) : "";
    this.legend = h(".map-scale", {}, h("i.ramp"), h("p.ends", {}, ...ends), h("p.quiet", {}, [unit, all].filter(Boolean).join("; ")), missing);
  }

  read(style) {
    const stops = ["low", "middle", "high"].map((name) => rgb(style.getPropertyValue(`--ramp-${name}`)));
    const ramp = Array.from({ length: STEPS }, (_, at) => between(stops, at / (STEPS - 1)));
    const none = style.getPropertyValue("--colour-none");
    const { low, high, values } = this.scale;
    const at = (value) => Math.round(Math.min(Math.max((value - low) / (high - low || 1), 0), 1) * (STEPS - 1));
    return { of: (i) => (values[i] === null ? none : ramp[at(values[i])]), rank: (i) => (values[i] === null ? 1 : 2) };
  }

  isFaint() {
    return false;
  }

  told(i) {
    const value = this.scale.values[i];
    return value === null ? "not known" : this.words(value);
  }

  words(value) {
    if (this.scale.kind === "time") return clock(value, { day: "numeric", month: "short", year: "numeric" });
    return value.toLocaleString("en", { maximumSignificantDigits: Number.isInteger(value) ? 21 : 4 });
  }
}

const rgb = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.trim().slice(at, at + 2), 16));

// A colour on the way over all stops.
function between(stops, share) {
  const at = Math.min(Math.floor(share * (stops.length - 1)), stops.length - 2);
  const rest = share * (stops.length - 1) - at;
  return `rgb(${stops[at].map((from, i) => Math.round(from + (stops[at + 1][i] - from) * rest)).join(" ")})`;
}
