// What each step of the history remembers: how far it was scrolled, which picture was on top, what had been loaded.

const LISTS_KEPT = 12;
const STORED = "places";
const kept = new Map(JSON.parse(sessionStorage.getItem(STORED) ?? "[]"));
let last = Math.max(0, ...kept.keys());

history.scrollRestoration = "manual";

// The state of a new step.
export const newStep = () => ({ step: ++last });

export const step = () => history.state?.step ?? 0;

// What the present step remembers, to be changed in place.
export function memory() {
  if (!kept.has(step())) kept.set(step(), { y: 0 });
  return kept.get(step());
}

// A list is kept by the steps that were looked at last; one that is not is loaded anew.
export function keepList(list) {
  const here = memory();
  kept.delete(step());
  kept.set(step(), here);
  here.list = list;
  const holders = [...kept.values()].filter((one) => one.list);
  for (const one of holders.slice(0, -LISTS_KEPT)) delete one.list;
}

addEventListener("pagehide", () => {
  const places = [...kept].map(([number, { y, top }]) => [number, { y, top }]);
  sessionStorage.setItem(STORED, JSON.stringify(places.slice(-100)));
});
