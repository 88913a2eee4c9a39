// Rows of thumbnails that fill the width. More of them come when one scrolls near the end; in the page are only those in
// sight and a screen above and below, however many there are.

import { Problem } from "./api.js";
import { cell, dispose, shape } from "./cell.js";
import { empty, h } from "./dom.js";
import { below, layout, lineAt } from "./layout.js";
import { openLightbox } from "./lightbox.js";
import { ordered } from "./selection.js";
import { addTerm, searchFor } from "./state.js";

const AHEAD = 1200;

// The element for a list of pictures. `feed` loads them; `memory` is what this step of the history remembers; `note(picture)`
// is told of each; `failed(error)` may give the element for what went wrong.
export class Grid {
  constructor({ feed, memory, signal, note = () => "", onFirst = () => {}, nothing, failed = () => null, focus = false }) {
    Object.assign(this, { feed, memory, note, onFirst, nothing, failed, focus });
    this.tiles = new Map();
    this.current = 0;
    this.plan = layout([], 0, 0, 0);
    this.list = h(".grid", { role: "list", "aria-label": "Images" });
    ordered(this.list, () => this.feed.pictures);
    this.more = h("button.more", { type: "button", hidden: true, onclick: () => this.load() }, "More");
    this.box = h("section.results", {}, this.list, this.more);
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("focusin", (event) => this.focused(event.target.closest(".tile")));
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.list);
    addEventListener("scroll", () => this.scrolled(), { passive: true, signal });
    addEventListener("resize", () => this.draw(), { signal });
    signal.addEventListener("abort", () => this.resized.disconnect());
    this.signal = signal;
    this.begin();
  }

  async begin() {
    const { top } = this.memory;
    await null; // until it is in the page, where it has a width
    if (this.feed.first === null) this.list.append(...skeleton());
    await this.load();
    while (top && !this.reaches(top) && !this.feed.ended && !this.broken && !this.signal.aborted) await this.load();
    if (top && this.feed.pictures.length) this.goTo(top);
    this.settled = true;
    this.scrolled();
  }

  // The next page, or what is kept of the first ones.
  async load() {
    const first = !this.begun;
    try {
      if (!first || this.feed.first === null) await this.feed.more();
      if (this.signal.aborted) return;
      this.broken = false;
      if (first) this.start();
      this.fit(true);
    } catch (error) {
      if (error.name !== "AbortError") this.trouble(error, first);
    }
  }

  start() {
    this.begun = true;
    this.list.replaceChildren();
    this.onFirst(this.feed.first);
    if (!this.feed.pictures.length) this.box.replaceChildren(this.nothing);
  }

  trouble(error, first) {
    this.broken = true;
    const words = error instanceof Problem ? error.message : String(error);
    if (!first) return void (this.more.textContent = `${words} Try again`);
    const again = h("button.action", { type: "button", onclick: () => (this.box.replaceChildren(this.list, this.more), this.begin()) }, "Try again");
    this.list.replaceChildren();
    this.box.replaceChildren(this.failed(error) ?? empty("quarantine", "That did not work", words, again));
  }

  // Lines for the width there is now; what was on top stays there.
  fit(grown = false) {
    const style = getComputedStyle(this.list);
    const width = Math.floor(this.list.getBoundingClientRect().width);
    if (!this.begun || !width || (width === this.width && !grown)) return;
    const top = this.width && width !== this.width && scrollY > 0 ? this.memory.top : null;
    this.width = width;
    const [row, gap, line] = ["--row", "--gap", "--line-under"].map((name) => parseFloat(style.getPropertyValue(name)));
    this.plan = layout(this.feed.pictures.map(shape), width, row, gap, this.feed.pictures.map(({ caption }) => (caption ? line : 0)));
    this.list.style.height = `${this.plan.height}px`;
    this.more.hidden = this.feed.ended;
    if (!this.broken) this.more.textContent = "More";
    for (const [index, tile] of this.tiles) this.put(tile, index);
    if (top) this.goTo(top);
    this.draw();
  }

  scrolled() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (this.signal.aborted) return;
      this.draw();
      if (this.settled) this.remember();
    });
  }

  // Which pictures are in the page: those near the window, and the one where the keyboard is.
  draw() {
    const { lines } = this.plan;
    if (!lines.length) return;
    const above = -this.list.getBoundingClientRect().top;
    const [from, to] = [lines[lineAt(lines, above - innerHeight)].first, lines[lineAt(lines, above + 2 * innerHeight)].last];
    for (const [index, tile] of this.tiles) {
      if ((index < from || index > to) && index !== this.current) this.tiles.delete(index), dispose(tile);
    }
    let next = null;
    for (const index of [...new Set([...range(from, to), this.current])].sort((a, b) => b - a)) {
      if (!this.tiles.has(index)) this.list.insertBefore(this.tile(index), next);
      next = this.tiles.get(index);
    }
    if (this.focus && document.activeElement === document.body) (this.focus = false), this.link(this.current).focus({ preventScroll: true });
    if (!this.feed.ended && !this.feed.loading && !this.broken && above + innerHeight + AHEAD > this.plan.height) this.load();
  }

  tile(index) {
    const picture = this.feed.pictures[index];
    const tile = cell(picture, () => this.open(index), this.note(picture));
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this.feed.ended ? this.feed.pictures.length : -1);
    tile.dataset.index = index;
    if (index === this.current) tile.querySelector(".cell").setAttribute("tabindex", "0");
    this.put(tile, index);
    this.tiles.set(index, tile);
    return tile;
  }

  put(tile, index) {
    const { left, width, line } = this.plan.spots[index];
    const { top, height, under } = this.plan.lines[line];
    Object.assign(tile.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    tile.style.setProperty("--under", `${under}px`);
  }

  link(index) {
    return this.tiles.get(index)?.querySelector(".cell");
  }

  // The picture on top and how far it is from the top of the window: what going back and resizing bring there again.
  remember() {
    if (!this.plan.lines.length || !this.list.isConnected) return;
    const above = -this.list.getBoundingClientRect().top;
    const line = this.plan.lines[lineAt(this.plan.lines, above)];
    this.memory.top = above > 0 ? { index: line.first, by: above - line.top } : null;
  }

  // Whether there is enough below a place for it to be on top.
  reaches({ index, by }) {
    const spot = this.plan.spots[index];
    return spot && this.plan.lines[spot.line].top + by + innerHeight < this.plan.height;
  }

  goTo({ index, by }) {
    const spot = this.plan.spots[Math.min(index, this.plan.spots.length - 1)];
    const begins = this.list.getBoundingClientRect().top + scrollY;
    scrollTo(0, begins + this.plan.lines[spot.line].top + Math.min(by, this.plan.lines[spot.line].height));
    this.draw();
  }

  open(index) {
    const { feed, note } = this;
    openLightbox({ pictures: feed.pictures, index, note, more: () => this.load(), show: (at) => this.move(at) });
  }

  focused(tile) {
    if (tile) this.choose(Number(tile.dataset.index));
  }

  choose(index) {
    this.link(this.current)?.setAttribute("tabindex", "-1");
    this.current = index;
    this.draw();
    this.link(index)?.setAttribute("tabindex", "0");
  }

  // The keyboard goes on at a picture.
  move(index) {
    if (!this.feed.pictures[index] || !this.list.isConnected) return;
    this.choose(index);
    this.link(index).focus({ preventScroll: true });
    this.link(index).scrollIntoView({ block: "nearest" });
  }

  async on() {
    if (this.current + 1 >= this.feed.pictures.length) await this.load();
    this.move(this.current + 1);
  }

  key(event) {
    const here = event.target.closest(".cell");
    if (!here || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowRight: () => this.on(),
      ArrowLeft: () => this.move(this.current - 1),
      ArrowDown: () => this.move(below(this.plan, this.current, 1)),
      ArrowUp: () => this.move(below(this.plan, this.current, -1)),
      Home: () => this.move(0),
      End: () => this.move(this.feed.pictures.length - 1),
      s: () => searchFor("row", here.dataset.row),
      "+": () => addTerm("row", here.dataset.row),
      "-": () => addTerm("row", `-${here.dataset.row}`),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

function skeleton() {
  const ratios = [1.5, 1, 0.75, 1.33, 1.5, 1, 1.78, 0.8, 1.2, 1.5, 1, 1.33, 0.75, 1.5];
  return [h(".strip", { "aria-hidden": "true" }, ...ratios.map((ratio) => h(".tile.skeleton", { "--ratio": ratio })))];
}
