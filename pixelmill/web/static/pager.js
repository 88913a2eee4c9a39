// Long lists in pages, of which one is in the page at a time: the address says which.

import { h, icon, number } from "./dom.js";
import { go } from "./state.js";

export const beginning = (state) => Math.max(0, Number.parseInt(state.from, 10) || 0);

export function pager(from, size, all) {
  if (from === 0 && all <= size) return "";
  const to = (at, name, words) => h("button.action", { type: "button", disabled: at < 0 || at >= all, onclick: () => go({ from: at || null }) }, icon(name), words);
  return h("nav.pager", { "aria-label": "Pages" },
    to(from === 0 ? -1 : Math.max(from - size, 0), "left", "Previous"),
    h("span.quiet", {}, `${number(Math.min(from + 1, all))}–${number(Math.min(from + size, all))} of ${number(all)}`),
    to(from + size, "right", "Next"),
  );
}
