// Plots of models that were compared: intervals of a measure, and how good beside how quick.

import { h, number } from "./dom.js";

const QUARTERS = [0, 0.25, 0.5, 0.75, 1];
const QUALITY = ["neighbours_5", "neighbour_1", "mean_average_precision", "probe", "zero_shot"];
const [HIGH, LEFT, BELOW, LETTER] = [300, 44, 40, 6.8];

// A line for each of `all`, [{name, isBest, value, low, high}]: the mean, and the interval that holds it.
export function intervals(title, all) {
  const first = Math.floor(10 * Math.min(...all.map(({ low }) => low))) / 10;
  const last = Math.max(Math.ceil(10 * Math.max(...all.map(({ high }) => high))) / 10, first + 0.1);
  const at = (value) => `${(100 * (value - first)) / (last - first)}%`;
  const line = ({ name, isBest, value, low, high }) => h(`li${isBest ? ".best" : ""}`, {}, h("span.name", { title: name }, name),
    h("span.track", { "aria-hidden": "true" }, h("i.interval", { "--from": at(low), "--wide": at(first + high - low) }), h("i.mean", { "--at": at(value) })),
    h("span.value", {}, value.toFixed(3), h("span.visually-hidden", {}, `, ${low.toFixed(3)} to ${high.toFixed(3)}${isBest ? ", among the best" : ""}`)));
  const ticks = QUARTERS.map((part) => h("i", { "--at": `${100 * part}%` }, String(Number((first + part * (last - first)).toFixed(3)))));
  return h("figure.plot", {}, h("figcaption", {}, title), h("ul", {}, ...all.map(line)), h("p.axis", { "aria-hidden": "true" }, h("span.ticks", {}, ...ticks)));
}

// How good each model is, upwards, over the images a second that runs have measured, by their logarithm.
export function pace({ evaluation, measures }) {
  const measure = QUALITY.find((name) => measures[name]);
  const quick = evaluation.scores.filter((one) => one.cost.images_per_second && one.measures[measure]);
  if (quick.length < 2) return "";
  const wide = matchMedia("(max-width: 640px)").matches ? 340 : 560;
  const powers = quick.map((one) => Math.log10(one.cost.images_per_second));
  const first = Math.floor(Math.min(...powers));
  const last = Math.max(Math.ceil(Math.max(...powers)), first + 1);
  const across = (power) => LEFT + 16 + ((power - first) / (last - first)) * (wide - LEFT - 32);
  const up = (value) => 10 + (1 - value) * (HIGH - BELOW - 10);
  const grid = [
    ...QUARTERS.flatMap((tick) => [svg("line", { class: "grid", x1: LEFT, x2: wide, y1: up(tick), y2: up(tick) }), words(LEFT - 8, up(tick) + 4, tick, "end")]),
    ...Array.from({ length: last - first + 1 }, (_, i) => first + i).flatMap((power) => [svg("line", { class: "grid", x1: across(power), x2: across(power), y1: up(1), y2: up(0) }), words(across(power), HIGH - BELOW + 18, number(10 ** power), "middle")]),
    words((LEFT + wide) / 2, HIGH - 4, "images/s", "middle"),
  ];
  const said = quick.map((one) => `${one.name}: ${one.measures[measure].value.toFixed(3)} at ${number(Math.round(one.cost.images_per_second))} images/s`).join("; ");
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${HIGH}`, role: "img", "aria-label": said }, ...grid, ...dots(quick, measure, powers.map(across), up, evaluation.best[measure] ?? [], wide));
  return h("figure.plot.pace", {}, h("figcaption", {}, `${measures[measure]} beside images/s`), drawing);
}

// Each with its interval and its name, which stands below those that are there already.
function dots(quick, measure, places, up, best, wide) {
  const taken = [];
  return quick.flatMap((one, i) => {
    const { value, low, high } = one.measures[measure];
    const [x, kind] = [places[i], best.includes(one.name) ? "best" : ""];
    const isRight = x < wide / 2;
    let y = up(value) + 4;
    while (taken.some((other) => Math.abs(other - y) < 15)) y += 15;
    taken.push(y);
    const room = Math.floor((isRight ? wide - x - 10 : x - LEFT - 10) / LETTER);
    const told = one.name.length > room ? `${one.name.slice(0, room - 1)}…` : one.name;
    const name = words(isRight ? x + 10 : x - 10, y, told, isRight ? "start" : "end", "told");
    return [svg("line", { class: `interval ${kind}`, x1: x, x2: x, y1: up(low), y2: up(high) }), svg("circle", { class: `mean ${kind}`, cx: x, cy: up(value), r: 5 }), name];
  });
}

function words(x, y, text, anchor, kind = "") {
  const element = svg("text", { x, y, "text-anchor": anchor, class: kind });
  element.textContent = String(text);
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
