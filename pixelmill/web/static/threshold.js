// The least score of a search: what is below it is left out, and how many are left is told.

import { h, number } from "./dom.js";
import { go } from "./state.js";

const STEP = 0.01;
const COUNTED = 5000;

// `found` is the first page of a search. Its nearest picture says how far the slider goes.
export function threshold(state, found) {
  if (found.best === null) return "";
  const most = Math.max(Math.ceil(found.best / STEP) * STEP, STEP).toFixed(2);
  const given = state.min_score ?? "";
  const change = (value) => go({ min_score: value === "" ? null : value }, { replace: true });
  const field = h("input", { type: "number", min: -1, max: 1, step: "any", value: given, placeholder: "any", "aria-label": "Least score", onchange: () => field.checkValidity() && change(field.value) });
  const slider = h("input", { type: "range", min: 0, max: most, step: STEP, value: given || 0, tabindex: -1, "aria-hidden": "true", oninput: () => (field.value = slider.value > 0 ? slider.value : ""), onchange: () => change(field.value) });
  const left = !found.reach ? "" : h("output.quiet", {}, `${number(found.reach)}${found.reach < COUNTED ? "" : " or more"} ${found.reach === 1 ? "has" : "have"} it`);
  return h("span.threshold", {}, h("label", {}, h("span.quiet", {}, "score at least"), slider, field), left);
}
