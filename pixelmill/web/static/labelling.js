// Pictures are given a label, in a dialog: it lies in the store until the next run makes a column of it.

import { download, get, send } from "./api.js";
import { button, count, h, number } from "./dom.js";
import { remember } from "./labels.js";

const NAME = /^[a-z][a-z0-9_]{0,39}$/;
const LAST = "label-name";
const VALUES_SHOWN = 12;
const KEEP = ["yes", "no"];

export const rowsOf = (pictures) => pictures.map(({ row }) => row);

// The labels that there are, whether any can be given, and which heads learn from them.
export async function knownLabels() {
  try {
    return await get("labels");
  } catch (error) {
    return { why_not: error.message, labels: [], heads: {}, problems: [] };
  }
}

// Give pictures a label, or take theirs away (null). What was done, in words.
export async function give(pictures, name, value) {
  const given = await send(`labels/${name}`, { rows: rowsOf(pictures), value });
  remember(rowsOf(pictures), name, given.value);
  const images = count(pictures.length, "image");
  return value === null ? `${images} without ${name}.` : `${images}: ${name} = ${given.value}. A column with the next run.`;
}

// A table of pictures, with a label as a column of it where there is one.
export function saveTable(pictures, label = null) {
  const scores = pictures.map(({ score }) => score ?? null);
  return download("selection/table", { rows: rowsOf(pictures), scores, label }, `${label ? label[0] : "images"}.csv`);
}

// Asks for the label of pictures. `model` is that of a head; `after(words)` is told what was done.
export async function labelDialog(pictures, { name = localStorage.getItem(LAST) ?? "label", value = "", model, after }) {
  const { why_not, labels, heads, problems } = await knownLabels();
  const named = h("input", { value: name, required: true, maxlength: 40, list: "label-names", spellcheck: "false", autocapitalize: "off", autocomplete: "off" });
  const label = h("input", { value, maxlength: 256, list: "label-values", autocomplete: "off", dir: "auto" });
  const wrong = h("p.warn", { role: "alert" }, why_not ?? problems[0] ?? "");
  const [chips, values, learning] = [h(".values"), h("datalist", { id: "label-values" }), h("div")];
  const spelled = () => named.value.trim().toLowerCase().replace(/[\s-]+/g, "_");

  function follow() {
    const own = labels.find((one) => one.name === spelled())?.values ?? [];
    const more = spelled() === "keep" ? KEEP.filter((one) => !own.some(({ value }) => value === one)).map((value) => ({ value })) : [];
    const offered = [...own, ...more];
    values.replaceChildren(...offered.map((one) => h("option", { value: one.value })));
    chips.replaceChildren(...offered.slice(0, VALUES_SHOWN).map((one) => h("button.value", { type: "button", onclick: () => done((label.value = one.value)) }, h("span", { dir: "auto" }, one.value), one.images && h("span.quiet", {}, number(one.images)))));
    learning.replaceChildren(...lessons(spelled(), { heads: heads[spelled()], model, why_not }));
  }

  async function done(chosen) {
    const name = spelled();
    wrong.textContent = !NAME.test(name) ? "Expected a name of letters, digits and _, a letter first." : chosen === "" ? "Expected a label." : "";
    if (wrong.textContent) return;
    localStorage.setItem(LAST, name);
    try {
      const words = await (why_not ? saveTable(pictures, [name, chosen]) : give(pictures, name, chosen));
      dialog.close();
      after(words);
    } catch (error) {
      wrong.textContent = error.message;
    }
  }

  const form = h("form", { onsubmit: (event) => (event.preventDefault(), done(label.value.trim())) },
    h("h2", {}, `Label ${count(pictures.length, "image")}`), wrong,
    h(".pair", {}, h("label", {}, "Name", named), h("label", {}, "Label", label)), chips,
    h("datalist", { id: "label-names" }, ...[...new Set([...labels.map((one) => one.name), "label", "keep"])].map((one) => h("option", { value: one }))), values,
    h("details", {}, h("summary", {}, "Examples for a head"), learning),
    h(".ends", {}, button("close", "Close (Esc)", () => dialog.close(), ".close"),
      why_not ? "" : h("button.action", { type: "button", title: "They have no label by this name any more", onclick: () => done(null) }, "Take away"),
      h("button.action.primary", { type: "submit" }, why_not ? "Save a table with it" : "Give label")));
  const dialog = h("dialog.small.labelling", { "aria-label": "Label", onclose: () => dialog.remove() }, form);
  named.addEventListener("input", follow);
  follow();
  document.body.append(dialog);
  dialog.showModal();
  (named.value ? label : named).focus();
}

// How a head comes to learn from a label.
function lessons(name, { heads, model, why_not }) {
  const table = why_not ? `[[tables]]\npath = "${name}.csv"\nkey = "sha256"\ncolumns = ["${name}"]\n\n` : "";
  const lines = `${table}[heads.${`${name}_learnt`.slice(-40)}]\nkind = "linear"\nmodel = "${model}"\ncolumn = "${name}"`;
  if (heads && !why_not) return [h("p.quiet", {}, `Each run, ${heads.join(" and ")} ${heads.length > 1 ? "learn" : "learns"} from these labels, and says of all other images which one they would get.`)];
  return [h("p.quiet", {}, "With these lines in pixelmill.toml, each run learns from the labels, and says of all other images which one they would get."), h("pre", { tabindex: 0 }, lines)];
}
