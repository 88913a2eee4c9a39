// Making elements, icons and words.

const ICONS = {
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 21 21",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 8.5h.01",
  filter: "M4 6h16M7 12h10M10 18h4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  keys: "M3 6h18v12H3zM7 10h.01M11 10h.01M15 10h.01M7 14h10M18 10h-.01",
  images: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  map: "M5 8h.01M9 15h.01M12 6h.01M15 12h.01M19 17h.01M18 7h.01M6 19h.01M12 19h.01",
  twins: "M4 8h12v12H4zM8 8V4h12v12h-4",
  clusters: "M7 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM17 4a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM16 13a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM6 16a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  compared: "M3 6h18M3 12h18M3 18h18M8 4v4M15 10v4M11 16v4",
  coverage: "M4 20V10M10 20V4M16 20v-7M22 20H2",
  quarantine: "M12 3 2.5 20h19zM12 10v4M12 17h.01",
  nights: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7v5l3.5 2",
  close: "M6 6l12 12M18 6 6 18",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  like: "M4 8h9v9H4zM10 4h10v10h-4",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  label: "M4 4h8l8.5 8.5-8 8L4 12zM8.5 8.5h.01",
  keep: "M6 4h12v16l-6-4.5L6 20z",
  drop: "M6 8.5V20l6-4.5 6 4.5V18M9 4h9v10M3 3l18 18",
  table: "M4 5h16v14H4zM4 10h16M10 10v9",
  file: "M6 3h8l4 4v14H6zM14 3v4h4M10 12l4 4M14 12l-4 4",
};

const BOLD = new Set(["map"]);

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon-shape");
  svg.classList.toggle("bold", BOLD.has(name));
  return svg;
}

// h("a.cell", {href, onclick}, …children): strings become text, never markup.
export function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function button(name, label, onclick, classes = "") {
  return h(`button.icon${classes}`, { type: "button", "aria-label": label, title: label, onclick }, icon(name));
}

export const number = (value) => value.toLocaleString("en");

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

// Rounded down: 100% is all of it, and nothing less.
export function percent(share) {
  const tenths = Math.floor(share * 1000 + 1e-9) / 10;
  return `${tenths}%`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

export function moment(iso) {
  return new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

let hiding;
export function toast(words, action = "") {
  const box = document.getElementById("toast");
  box.replaceChildren(words, action);
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (box.hidden = true), 6000);
}

// Words in which `backticks` are code.
export const prose = (words) => words.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));

// A view that has nothing to show, in words, and what to do about it.
export function empty(name, title, words, ...actions) {
  return h("section.empty", {}, icon(name), h("h2", {}, title), h("p", {}, ...prose(words)), ...actions);
}
