// One picture, large, with what is known of it and what can be done with it.

import { get } from "./api.js";
import { labelOne } from "./actions.js";
import { button, bytes, h, icon, moment, number } from "./dom.js";
import { whole } from "./cell.js";
import { facts as factsOf, said } from "./known.js";
import { facts as labelFacts } from "./labels.js";
import { has, toggle } from "./selection.js";
import { addTerm, isLaid, lay, layAnother, read, searchFor, uncover } from "./state.js";

let dialog = null;

// What the address says: a picture that is to be seen by itself, or none over the list.
export async function followLightbox({ open }) {
  if (!open) return void dialog?.close();
  if (dialog) return;
  const pictures = [await get(`rows/${Number(open)}`).catch(() => null)];
  if (pictures[0] && !dialog && read().open === open) openLightbox({ pictures, index: 0 });
}

// `more()` loads what comes after the last picture; `show(index)` is told which one was looked at last.
export function openLightbox({ pictures, index, note = () => "", more = () => null, show = () => {} }) {
  dialog?.close();
  if (!read().open) lay(pictures[index].row);
  const stage = h("figure.stage");
  const facts = h("aside.facts");
  const here = h("dialog.lightbox", { "aria-label": "Picture", tabindex: -1 }, stage, facts);
  dialog = here;
  let at = index;
  let asking = null;
  let leaving = false;

  const step = async (by) => {
    if (at + by >= pictures.length) await more();
    if (at + by < 0 || at + by >= pictures.length) return;
    at += by;
    layAnother(pictures[at].row);
    draw();
  };
  // What is done with a picture takes the place of looking at it, so that Back leads to the list.
  const leave = (act) => () => {
    const how = { replace: isLaid() };
    leaving = true;
    here.close();
    act(how);
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
    x: () => facts.querySelector(".pick").click(),
    l: () => labelOne(pictures[at]),
    s: leave((how) => searchFor("row", String(pictures[at].row), how)),
    "+": leave((how) => addTerm("row", String(pictures[at].row), how)),
    "-": leave((how) => addTerm("row", `-${pictures[at].row}`, how)),
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
    if (!leaving && read().open) uncover();
    if (!leaving) show(at);
  });
  document.body.append(here);
  draw();
  here.showModal();
  here.focus();
}

// The thumbnail that is there already, until the large one is.
function large(picture) {
  const image = h("img", { src: picture.thumbnail, alt: picture.caption ?? picture.name });
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
    labelFacts(picture),
    h(".actions", {},
      act("like", "Similar", (how) => searchFor("row", row, how), "s"),
      act("plus", "Add", (how) => addTerm("row", row, how), "+"),
      act("minus", "Subtract", (how) => addTerm("row", `-${row}`, how), "-"),
      pick(picture),
      h("button.action", { type: "button", title: "Give it a label (l)", onclick: () => labelOne(picture) }, icon("label"), "Label"),
      h("a.action", { href: picture.file, target: "_blank", rel: "noopener" }, icon("open"), "Original"),
    ),
    h("dl", {}, ...where(picture), ...(picture.width ? pair("Size", `${number(picture.width)} × ${number(picture.height)} pixels`) : [])),
  ].filter(Boolean);
}

function pick(picture) {
  const words = () => [icon("check"), has(picture.row) ? "Selected" : "Select"];
  const pressed = () => String(has(picture.row));
  const choose = () => (toggle(picture), toggler.setAttribute("aria-pressed", pressed()), toggler.replaceChildren(...words()));
  const toggler = h("button.action.pick", { type: "button", title: "Select it (x)", "aria-pressed": pressed(), onclick: choose }, ...words());
  return toggler;
}

const pair = (name, ...values) => [h("dt", {}, name), ...values.map((value) => h("dd", {}, value))];

// The folder of a picture; of one that lies in several files, each of these.
function where({ places }) {
  const folder = (place) => whole(place).split("/").slice(0, -1).join("/");
  return places.length > 1 ? pair(`${places.length} files`, ...places.map(whole)) : pair("Folder", folder(places[0]));
}

async function describe(picture, facts, signal) {
  try {
    const known = await get(`rows/${picture.row}`, {}, signal);
    const list = facts.querySelector("dl");
    facts.querySelector("h2").after(...said(known.columns));
    list.prepend(...factsOf(known.columns).flatMap((fact) => pair(...fact)));
    facts.querySelector(".labels").replaceWith(labelFacts(known));
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
