// A plane of points that can be moved, come closer to and opened. Drag to move, wheel or pinch to come closer.

import { get } from "./api.js";
import { button, h } from "./dom.js";
import { openLightbox } from "./lightbox.js";

const REACH = 14;
const PICTURES_FROM = 44;
const MOST_PICTURES = 300;
const FARTHEST = 0.5;
const NEAREST = 400;
const FAINT = 0.28;
const THUMBNAILS_KEPT = 2 * MOST_PICTURES;

// Where the map of each model was looked at last.
const looked = new Map();

// `colours` says of each point which it has, whether it steps back, and what is told of it.
export class Chart {
  constructor(points, colours, signal) {
    Object.assign(this, { points, colours });
    this.thumbnails = new Map();
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "Map of the images. Arrow keys move it, + and - come closer and go back, 0 shows all, Enter opens what is in the middle." });
    this.card = h(".hover", { hidden: true });
    const tools = h(".zoom", {}, button("plus", "Closer (+)", () => this.zoom(1.6)), button("minus", "Back (-)", () => this.zoom(1 / 1.6)), button("map", "All of it (0)", () => this.fit()));
    this.box = h(".map-box", {}, this.canvas, this.card, tools);
    this.follow(signal);
  }

  follow(signal) {
    const { canvas } = this;
    const resized = new ResizeObserver(() => (this.scale ? this.draw() : this.begin()));
    resized.observe(canvas);
    signal.addEventListener("abort", () => resized.disconnect());
    document.addEventListener("theme", () => this.draw(), { signal });
    canvas.addEventListener("wheel", (event) => (event.preventDefault(), this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY)), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("pointerleave", () => (this.card.hidden = true));
    this.dragging(canvas);
  }

  dragging(canvas) {
    const fingers = new Map();
    let moved = 0;
    const spread = () => {
      const [a, b] = [...fingers.values()];
      return { distance: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return this.hover(event.offsetX, event.offsetY);
      const before = fingers.size === 2 ? spread() : null;
      fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      moved += Math.abs(event.offsetX - last.x) + Math.abs(event.offsetY - last.y);
      if (before) return this.zoom(spread().distance / before.distance, before.x, before.y);
      this.x += event.offsetX - last.x;
      this.y += event.offsetY - last.y;
      this.draw();
    });
    const up = (event) => {
      if (fingers.delete(event.pointerId) && moved < 5 && event.type === "pointerup") this.open(event.offsetX, event.offsetY);
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
  }

  key(event) {
    const pan = (x, y) => () => ((this.x += x), (this.y += y), this.draw());
    const does = {
      ArrowLeft: pan(60, 0), ArrowRight: pan(-60, 0), ArrowUp: pan(0, 60), ArrowDown: pan(0, -60),
      "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4), 0: () => this.fit(),
      Enter: () => this.open(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, Infinity),
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  }

  begin() {
    this.fit();
    Object.assign(this, looked.get(this.points.model));
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    const [wide, high] = [Math.max(...this.points.x, 0.01), Math.max(...this.points.y, 0.01)];
    this.scale = this.whole = 0.86 * Math.min(width / wide, height / high);
    this.x = (width - wide * this.scale) / 2;
    this.y = (height - high * this.scale) / 2;
    this.draw();
  }

  zoom(by, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * by, this.whole * FARTHEST), this.whole * NEAREST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.draw();
  }

  draw() {
    this.waiting ??= requestAnimationFrame(() => ((this.waiting = null), this.paint()));
    looked.set(this.points.model, { x: this.x, y: this.y, scale: this.scale });
  }

  // The points in sight, as [index, x, y].
  visible() {
    const { x, y } = this.points;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const seen = [];
    for (let i = 0; i < x.length; i++) {
      const [left, top] = [this.x + x[i] * this.scale, this.y + y[i] * this.scale];
      if (left > -40 && top > -40 && left < width + 40 && top < height + 40) seen.push([i, left, top]);
    }
    return seen;
  }

  paint() {
    const { canvas } = this;
    const [width, height, dense] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    if (!width) return;
    Object.assign(canvas, { width: width * dense, height: height * dense });
    const pen = canvas.getContext("2d");
    pen.scale(dense, dense);
    const colours = this.colours.read(getComputedStyle(canvas));
    const seen = this.visible().sort(([a], [b]) => colours.rank(a) - colours.rank(b));
    const room = seen.length ? Math.sqrt((width * height) / seen.length) : 0;
    const pictures = room > PICTURES_FROM && seen.length <= MOST_PICTURES;
    const radius = Math.min(2 + Math.log2(this.scale / this.whole + 1) * 1.2, 6);
    for (const [i, x, y] of seen) {
      pen.fillStyle = colours.of(i);
      pen.globalAlpha = colours.rank(i) ? 1 : FAINT;
      if (pictures) this.picture(pen, i, x, y, Math.min(room * 0.75, 96));
      else pen.beginPath(), pen.arc(x, y, radius, 0, 7), pen.fill();
    }
  }

  picture(pen, i, x, y, side) {
    const image = this.thumbnail(this.points.rows[i]);
    const framed = (width, height) => {
      pen.fillRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
      return [x - width / 2, y - height / 2, width, height];
    };
    if (!image.complete || !image.naturalWidth) return void framed(side / 4, side / 4);
    const shrink = side / Math.max(image.naturalWidth, image.naturalHeight);
    pen.drawImage(image, ...framed(image.naturalWidth * shrink, image.naturalHeight * shrink));
  }

  thumbnail(row) {
    if (!this.thumbnails.has(row)) {
      const image = new Image();
      image.onload = () => this.draw();
      image.src = `/api/images/${row}/thumbnail?size=160`;
      this.thumbnails.set(row, image);
      if (this.thumbnails.size > THUMBNAILS_KEPT) this.thumbnails.delete(this.thumbnails.keys().next().value);
    }
    return this.thumbnails.get(row);
  }

  nearest(x, y, reach = REACH) {
    let best = null;
    for (const [i, left, top] of this.visible()) {
      if (this.colours.isFaint(i)) continue;
      const distance = Math.hypot(left - x, top - y);
      if (distance < reach) [best, reach] = [i, distance];
    }
    return best;
  }

  hover(x, y) {
    const i = this.nearest(x, y, REACH * 2);
    this.canvas.classList.toggle("over", i !== null);
    this.card.hidden = i === null;
    if (i === null) return;
    const row = this.points.rows[i];
    if (this.card.dataset.row !== String(row)) {
      this.card.dataset.row = row;
      this.card.replaceChildren(h("img", { src: `/api/images/${row}/thumbnail`, alt: "" }), h("span", { dir: "auto" }, this.colours.told(i)));
    }
    const left = x + 16 + 200 > this.canvas.clientWidth ? x - 216 : x + 16;
    this.card.style.transform = `translate(${left}px, ${Math.min(y + 16, this.canvas.clientHeight - 220)}px)`;
  }

  async open(x, y, reach) {
    const i = this.nearest(x, y, reach);
    if (i === null) return;
    this.card.hidden = true;
    const pictures = [await get(`rows/${this.points.rows[i]}`)];
    openLightbox({ pictures, index: 0, show: () => this.canvas.focus() });
  }
}
