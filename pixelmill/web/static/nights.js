// The reports of the last runs.

import { get } from "./api.js";
import { empty, h, moment, number } from "./dom.js";

export async function showNights(main, _state, _store, signal) {
  try {
    const { reports } = await get("reports", {}, signal);
    if (!reports.length) return main.append(empty("nights", "No run on record", "`pixelmill run`, or the nightly flow, leaves a report here."));
    main.append(h(".headline", {}, h("h1", {}, "Nights"), h("p.quiet", {}, "the last runs, newest first")), chart(reports), ...reports.map(report));
  } catch (error) {
    if (error.name !== "AbortError") main.append(empty("quarantine", "That did not work", error.message));
  }
}

const embedded = (night) => Object.values(night.report.models).reduce((sum, model) => sum + model.embedded, 0);

// Vectors made, a bar a run, oldest on the left; those that stand out in another colour.
function chart(reports) {
  const runs = reports.toReversed();
  const most = Math.max(...runs.map(embedded), 1);
  const bar = (night) => h(`i${night.notable.length ? ".notable" : ""}`, { "--share": `${(100 * embedded(night)) / most}%`, title: `${moment(night.started)}: ${number(embedded(night))} vectors` });
  return h("figure.chart", { role: "img", "aria-label": `Vectors made in the last ${runs.length} runs` }, h("div", {}, ...runs.map(bar)), h("figcaption.quiet", {}, `vectors made by ${runs.length === 1 ? "this run" : `the last ${runs.length} runs`}; at most ${number(most)}`));
}

function report(night, index) {
  const badge = night.notable.length ? h("span.badge.warn", {}, "stands out") : night.warnings.length ? h("span.badge", {}, "warnings") : "";
  return h("details.card.night", { open: index === 0 },
    h("summary", {}, h("time", { datetime: night.started }, moment(night.started)), h("strong", {}, night.headline), badge),
    h("p", {}, night.summary),
    ...night.notable.map((words) => h("p.warn", {}, words)),
    ...night.sections.map(section),
    ...(night.warnings.length ? [h("h3", {}, "Warnings"), h("ul", {}, ...night.warnings.map((words) => h("li", {}, words)))] : []),
  );
}

function section({ title, columns, words, rows, note }) {
  const side = (column) => (words.includes(column) ? { class: "words" } : {});
  const head = h("tr", {}, ...columns.map((column) => h("th", side(column), column)));
  const body = rows.map((row) => h("tr", {}, ...row.map((value, i) => h("td", side(columns[i]), value))));
  const table = rows.length ? h(".scroll", { tabindex: 0, role: "region", "aria-label": title }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body))) : "";
  return h("section", {}, h("h3", {}, title), table, note ? h("p.quiet", {}, note) : "");
}
