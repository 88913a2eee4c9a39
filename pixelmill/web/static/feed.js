// Pictures page by page, in the order in which the server tells them. What was loaded is kept for going back.

export class Feed {
  // `load(cursor)` gives {pictures, next, …}; `next` is null on the last page.
  constructor(load) {
    this.load = load;
    this.pictures = [];
    this.cursor = null;
    this.first = null;
    this.loading = null;
  }

  get ended() {
    return this.first !== null && this.cursor === null;
  }

  // Once at a time, whoever asks.
  more() {
    this.loading ??= this.next().finally(() => (this.loading = null));
    return this.loading;
  }

  async next() {
    if (this.ended) return;
    const page = await this.load(this.cursor);
    this.pictures.push(...page.pictures);
    this.cursor = page.next;
    this.first ??= page;
  }
}
