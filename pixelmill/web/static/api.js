// Asking the server. Every error is a Problem in the server's own words.

export class Problem extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

const progress = document.getElementById("progress");
let asking = 0;
let signIn = null;

// What is called on a 401; it settles when the person has given the token.
export function onSignIn(ask) {
  signIn = ask;
}

// Something is going on, until `work` has ended.
export async function whileBusy(work) {
  progress.hidden = ++asking === 0;
  try {
    return await work();
  } finally {
    progress.hidden = --asking === 0;
  }
}

const ask = (path, options = {}) => whileBusy(() => answered(path, options));

async function answered(path, options) {
  try {
    const answer = await fetch(path, { credentials: "same-origin", ...options });
    if (answer.status === 401 && signIn && path !== "/api/session") {
      await signIn();
      return ask(path, options);
    }
    if (!answer.ok) throw new Problem(answer.status, await words(answer));
    if (answer.status === 204) return null;
    return answer.headers.get("Content-Type").startsWith("text/csv") ? await answer.blob() : await answer.json();
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error;
    throw new Problem(0, "The gallery does not answer. Is `pixelmill serve` still running?");
  }
}

async function words(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

export function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") query.append(name, one);
    }
  }
  return ask(`/api/${path}${query.size ? `?${query}` : ""}`, { signal });
}

export function send(path, what) {
  return ask(`/api/${path}`, { method: "POST", body: JSON.stringify(what), headers: { "Content-Type": "application/json" } });
}

// What the server makes of `what`, as a file.
export async function download(path, what, name) {
  const url = URL.createObjectURL(await send(path, what));
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function upload(file) {
  return ask("/api/uploads", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
}

export function openSession(token) {
  const body = JSON.stringify({ token });
  return ask("/api/session", { method: "POST", body, headers: { "Content-Type": "application/json" } });
}
