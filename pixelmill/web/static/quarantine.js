// Which images were refused, and why.

import { get } from "./api.js";
import { count, empty, h, icon, moment, number, prose } from "./dom.js";
import { beginning, pager } from "./pager.js";
import { go } from "./state.js";

const PAGE = 100;

export async function showQuarantine(main, state, _store, signal) {
  const from = beginning(state);
  try {
    const page = await get("quarantine", { reason: state.reason, offset: from, limit: PAGE }, signal);
    if (!page.images) {
      main.append(empty("quarantine", "Nothing is in quarantine", "Every image that was read could be embedded."));
      return;
    }
    main.append(
      h(".headline", {}, h("h1", {}, `${count(page.images, "image")} in quarantine`), h("p.quiet", {}, ...prose("Tried again when the file changes, or after `pixelmill quarantine --retry`."))),
      h(".columns", {}, reasons(page, state), h("section", {}, h("ul.refused", {}, ...page.entries.map(entry)), pager(from, PAGE, page.entries_in_all))),
    );
  } catch (error) {
    if (error.name !== "AbortError") main.append(empty("quarantine", "That did not work", error.message));
  }
}

function reasons(page, state) {
  const all = page.reasons.reduce((sum, one) => sum + one.images, 0);
  const choice = (reason, words, images) => h("button.reason", { type: "button", "aria-pressed": String((state.reason ?? "") === reason), onclick: () => go({ reason: reason || null }) }, h("span", {}, words), h("strong", {}, number(images)));
  return h("aside.reasons", { "aria-label": "Reasons" }, choice("", "Every reason", all), ...page.reasons.map((one) => choice(one.reason, one.reason, one.images)));
}

function entry(refused) {
  const folder = refused.path.split("/").slice(0, -1).join("/");
  return h("li", {}, picture(refused), h("div", {}, h("p", {}, h("strong", {}, refused.name), refused.model ? h("span.badge", {}, refused.model) : ""), h("p.path.quiet", {}, folder), h("p", {}, refused.reason),
    h("p.quiet", {}, `${refused.stage} · since ${moment(refused.since)}`)));
}

// A picture that one model refused can still be shown; one that does not decode cannot.
function picture(refused) {
  if (refused.row === null || refused.model === null) return h("span.glyph", {}, icon("file"));
  const image = h("img", { src: `/api/images/${refused.row}/thumbnail?size=160`, alt: "", loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(h("span.glyph", {}, icon("file"))));
  return image;
}
