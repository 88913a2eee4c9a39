// One picture, large, with what is known of it and what can be done with it.

import { get } from "./api.js";
import { button, bytes, h, icon, moment, number } from "./dom.js";
import { addTerm, searchFor } from "./state.js";

let dialog = null;

// `more()` loads what comes after the last picture; `show(index)` is told which one was looked at last.
export function openLightbox({ pictures, index, note = () => "", more = () => null, show = () => {} }) {
  dialog?.close();
  const stage = h("figure.stage");
  const facts = h("aside.facts");
  const here = h("dialog.lightbox", { "aria-label": "Picture", tabindex: -1 }, stage, facts);
  dialog = here;
  let at = index;
  let asking = null;

  const step = async (by) => {
    if (at + by >= pictures.length) await more();
    if (at + by < 0 || at + by >= pictures.length) return;
    at += by;
    draw();
  };
  const leave = (act) => () => {
    here.close();
    act();
  };

  function draw() {
    const picture = pictures[at];
    asking?.abort();
    asking = new AbortController();
    stage.replaceChildren(
      large(picture),
      at > 0 ? button("left", "Previous (←)", () => step(-1), ".step.back") : "",
      at + 1 < pictures.length ? button("right", "Next (→)", () => step(1), ".step.on") : "",
    );
    facts.replaceChildren(...told(picture, note(picture), leave), button("close", "Close (Esc)", () => here.close(), ".close"));
    describe(picture, facts, asking.signal);
    for (const beside of [pictures[at + 1], pictures[at - 1]]) if (beside) new Image().src = `${beside.thumbnail}&size=1600`;
  }

  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    s: () => leave(() => searchFor("row", String(pictures[at].row)))(),
    "+": () => leave(() => addTerm("row", String(pictures[at].row)))(),
    "-": () => leave(() => addTerm("row", `-${pictures[at].row}`))(),
  };
  here.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  stage.addEventListener("click", (event) => event.target === stage && here.close());
  swipes(stage, step);
  here.addEventListener("close", () => {
    asking?.abort();
    here.remove();
    if (dialog === here) dialog = null;
    show(at);
  });
  document.body.append(here);
  draw();
  here.showModal();
  here.focus();
}

// The thumbnail that is there already, until the large one is.
function large(picture) {
  const image = h("img", { src: picture.thumbnail, alt: picture.name });
  if (picture.width) Object.assign(image.style, { aspectRatio: `${picture.width} / ${picture.height}` });
  image.style.setProperty("--ratio", picture.width ? picture.width / picture.height : 1);
  image.style.setProperty("--width", `${Math.min(picture.width < 400 ? 2 * (picture.width || 160) : picture.width, 1600)}px`);
  const whole = new Image();
  whole.onload = () => (image.src = whole.src);
  whole.src = `${picture.thumbnail}&size=1600`;
  return image;
}

function told(picture, note, leave) {
  const act = (name, words, does, key) => h("button.action", { type: "button", title: `${words} (${key})`, onclick: leave(does) }, icon(name), words);
  const row = String(picture.row);
  return [
    h("h2", {}, picture.name),
    note && h("p.score", {}, note),
    h(".actions", {},
      act("like", "Similar", () => searchFor("row", row), "s"),
      act("plus", "Add", () => addTerm("row", row), "+"),
      act("minus", "Subtract", () => addTerm("row", `-${row}`), "-"),
      h("a.action", { href: picture.file, target: "_blank", rel: "noopener" }, icon("open"), "Original"),
    ),
    h("dl", {}, ...pair("Folder", folder(picture)), ...(picture.width ? pair("Size", `${number(picture.width)} × ${number(picture.height)} pixels`) : [])),
  ].filter(Boolean);
}

const pair = (name, ...values) => [h("dt", {}, name), ...values.map((value) => h("dd", {}, value))];

const folder = (picture) => [picture.source, ...picture.path.split("/").slice(0, -1)].join("/");

async function describe(picture, facts, signal) {
  try {
    const known = await get(`rows/${picture.row}`, {}, signal);
    const list = facts.querySelector("dl");
    if (known.bytes !== null) list.append(...pair("File", [bytes(known.bytes), known.modified && moment(known.modified)].filter(Boolean).join(", ")));
    if (known.state !== "there") list.append(...pair("File", h("span.warn", {}, STATES[known.state])));
    list.append(...pair("Vectors", ...known.models.map(vector)));
    list.append(...pair("Row", `${number(known.row)}`), ...pair("sha256", h("code", { title: known.sha256 }, `${known.sha256.slice(0, 16)}…`)));
  } catch (error) {
    if (error.name !== "AbortError") facts.append(h("p.warn", {}, error.message));
  }
}

const STATES = {
  changed: "has changed since it was embedded; the next run gives it a new row",
  gone: "is gone since the last run",
};

function vector(model) {
  if (model.embedded) return model.name;
  return h("span.warn", {}, `${model.name}: ${model.reason ?? "pending, the next run makes it"}`);
}

function swipes(stage, step) {
  let from = null;
  stage.addEventListener("touchstart", (event) => (from = event.touches.length === 1 ? event.touches[0].clientX : null), { passive: true });
  stage.addEventListener("touchend", (event) => {
    if (from === null) return;
    const by = event.changedTouches[0].clientX - from;
    if (Math.abs(by) > 50) step(by < 0 ? 1 : -1);
    from = null;
  });
}
