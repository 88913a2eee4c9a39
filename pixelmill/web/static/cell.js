// One picture in a list.

import { h, icon } from "./dom.js";
import { tags } from "./labels.js";
import { box, mark } from "./selection.js";
import { searchFor } from "./state.js";

const WIDEST = 2.4;
const NARROWEST = 0.6;

// Width by height of what is shown of a picture.
export function shape(picture) {
  const ratio = picture.width && picture.height ? picture.width / picture.height : 1;
  return Math.min(Math.max(ratio, NARROWEST), WIDEST);
}

export const whole = (place) => [place.source.replace(/\/$/, ""), place.path].filter(Boolean).join("/");

// A link to the file that opens the picture large instead. `note` is told beside the name.
export function cell(picture, open, note = "") {
  const image = h("img", {
    src: picture.thumbnail,
    srcset: `${picture.thumbnail} 1x, ${picture.thumbnail}&size=640 2x`,
    alt: picture.caption ?? picture.name,
    decoding: "async",
    width: picture.width || 320,
    height: picture.height || 320,
    onload: () => image.classList.add("loaded"),
    onerror: () => link.classList.add("broken"),
  });
  if (picture.width < 200 && picture.height < 200) image.classList.add("small");
  const similar = h("button.icon.like", { type: "button", tabindex: -1, title: "Similar images (s)", "aria-label": `Similar to ${picture.name}` }, icon("like"));
  similar.addEventListener("click", (event) => {
    event.preventDefault();
    event.stopPropagation();
    searchFor("row", String(picture.row));
  });
  const places = picture.places.length > 1 && h("span.places", { title: picture.places.map(whole).join("\n"), "aria-label": `in ${picture.places.length} files` }, `×${picture.places.length}`);
  const caption = h("span.caption", {}, h("span.name", {}, picture.name), note && h("span.note", {}, note));
  const link = h("a.cell", { href: picture.file, "data-row": picture.row, tabindex: -1 }, image, places, caption, h("span.visually-hidden.is-selected"));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  // Whoever hears the page has heard it: it is what the image is called.
  const said = picture.caption && h("p.said", { dir: "auto", title: picture.caption, "aria-hidden": "true" }, picture.caption);
  link.append(tags(picture));
  const tile = h(`.tile${said ? ".captioned" : ""}`, { role: "listitem", "--ratio": shape(picture) }, link, box(picture), similar, said);
  tile.picture = picture;
  mark(tile);
  return tile;
}

// Taken out of the page: a thumbnail that has not come by now need not come.
export function dispose(tile) {
  const image = tile.querySelector("img");
  if (!image.complete) image.removeAttribute("srcset"), image.removeAttribute("src");
  tile.remove();
}
