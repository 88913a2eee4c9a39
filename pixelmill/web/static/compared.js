// Models compared on the store's own pictures: which is best by what, how sure that is, and what each costs.

import { get } from "./api.js";
import { empty, h, moment, number } from "./dom.js";
import { intervals, pace } from "./plots.js";
import { go } from "./state.js";

export async function showCompared(main, state, store, signal) {
  try {
    const { evaluations } = await get("evaluations", {}, signal);
    if (!evaluations.length) {
      return main.append(empty("compared", "No models compared yet", `\`pixelmill evaluate ${store.store ?? "STORE"} --labels folder\` says which model is best on these pictures, by the folders they lie in or by a column of labels. What came of it shows here.`));
    }
    const name = evaluations.some((one) => one.name === state.evaluation) ? state.evaluation : evaluations[0].name;
    const told = await get(`evaluations/${name}`, {}, signal);
    main.append(headline(told), chooser(evaluations, name), best(told), scores(told), plots(told), agreement(told), leftOut(told));
  } catch (error) {
    if (error.name !== "AbortError") main.replaceChildren(empty("quarantine", "That did not work", error.message));
  }
}

function headline(told) {
  return h(".headline", {}, h("h1", {}, `Models compared by ${told.labels}`), h("p.quiet", {}, `${told.headline} ${moment(told.made)}.`), told.where ? h("p.quiet", {}, "Only ", h("code", {}, told.where)) : "");
}

function chooser(evaluations, name) {
  if (evaluations.length < 2) return "";
  const words = (one) => `by ${one.labels}${one.where ? `, ${one.where}` : ""}: ${moment(one.made)}`;
  const options = evaluations.map((one) => h("option", { value: one.name, selected: one.name === name }, words(one)));
  return h("label.which", {}, h("span.quiet", {}, "Comparison"), h("select", { onchange: (event) => go({ evaluation: event.target.value }) }, ...options));
}

// A long name breaks where its parts end.
const broken = (name) => name.split(/(?<=[+_ ])/).flatMap((part) => [part, h("wbr")]);

const share = (value) => value.toFixed(3);

const section = (title, ...children) => h("section.compared-part", {}, h("h2", {}, title), ...children);

// The best by each measure, and what is not told apart from it.
function best(told) {
  const { best, scores } = told.evaluation;
  const cards = Object.entries(best).map(([measure, [first, ...others]]) => {
    const { value, low, high } = scores.find((one) => one.name === first).measures[measure];
    return h("article.card", {}, h("p.quiet", {}, told.measures[measure]), h("h3", {}, ...broken(first)), h("p.figures", {}, h("strong", {}, share(value)), h("span.quiet", {}, ` ${share(low)} to ${share(high)}`)),
      h("p.quiet", {}, ...(others.length ? ["not told apart from it: ", ...broken(others.join(", "))] : ["better than all others"])));
  });
  const weights = told.verdicts.filter((line) => line.startsWith("Weights")).map((line) => h("p.quiet", {}, line));
  return section("The best by each measure", h(".bests", {}, ...cards), ...weights);
}

function scores(told) {
  const heads = Object.entries(told.measures);
  const isBest = (measure, name) => told.evaluation.best[measure]?.includes(name);
  const cell = (one, measure) => {
    const found = one.measures[measure];
    if (!found) return h("td", {}, h("span.quiet", {}, "–"));
    return h("td", { class: isBest(measure, one.name) ? "best" : "" }, share(found.value), h("small", {}, `${share(found.low)}–${share(found.high)}`));
  };
  const cost = ({ dim, images_per_second: speed, ms_per_image: time, gb_per_million: room }) =>
    [number(dim), speed === null ? "–" : number(Math.round(speed * 10) / 10), time === null ? "–" : number(Math.round(time * 10) / 10), number(room)].map((value) => h("td", {}, value));
  const rows = told.evaluation.scores.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), ...heads.map(([measure]) => cell(one, measure)), ...cost(one.cost)));
  const head = h("tr", {}, ...["model", ...heads.map(([, words]) => words), "dim", "images/s", "ms", "GB/million"].map((words) => h("th", { scope: "col" }, words)));
  return section("Scores and cost", h(".scroll", { tabindex: 0, role: "region", "aria-label": "Scores and cost" }, h("table.scores", {}, h("thead", {}, head), h("tbody", {}, ...rows))),
    h("p.quiet", {}, "Shares from 0 to 1, each above the interval that holds it in 95% of resamplings of the pictures. Marked: the best, and what is not told apart from it. images/s and ms are those of this store's runs."));
}

function plots(told) {
  const drawn = Object.entries(told.measures).map(([measure, words]) => intervals(words, told.evaluation.scores.filter((one) => one.measures[measure]).map((one) => ({ name: one.name, isBest: told.evaluation.best[measure]?.includes(one.name), ...one.measures[measure] }))));
  return section("Plots", h(".plots", {}, ...drawn, pace(told)));
}

function agreement(told) {
  const pairs = told.evaluation.agreement;
  if (!pairs.length) return "";
  const models = [...new Set(pairs.flatMap((pair) => pair.models))];
  const of = (one, other) => (one === other ? 1 : pairs.find(({ models }) => models.includes(one) && models.includes(other))?.cka);
  const rows = models.map((one) => h("tr", {}, h("th", { scope: "row" }, one), ...models.map((other) => h("td.heat", { "--share": `${Math.round(36 * of(one, other))}%` }, share(of(one, other))))));
  return section("How alike they see", h(".scroll", { tabindex: 0, role: "region", "aria-label": "How alike they see" }, h("table", {}, h("thead", {}, h("tr", {}, h("td"), ...models.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, ...rows))),
    h("p.quiet", {}, "Linear CKA of two models' vectors: 1, they see the same."));
}

function leftOut(told) {
  return told.left_out.length ? section("What was left out", ...told.left_out.map((line) => h("p.quiet", {}, line))) : "";
}
