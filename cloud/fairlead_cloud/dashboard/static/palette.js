// Colours live in style.css; canvas and bars read them from there.

export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** What the score is made of, in the order of its bars. */
export const TERMS = ["latency", "throughput", "energy", "startup", "transfer", "memory", "link", "objectives"];

const KINDS = {
  ready: "ready",
  placed: "ready",
  online: "ready",
  granted: "ready",
  standby: "busy",
  preparing: "busy",
  negotiating: "busy",
  awarded: "busy",
  draining: "busy",
  pending: "busy",
  failed: "bad",
  quarantined: "bad",
  lost: "bad",
  unplaceable: "bad",
  offline: "bad",
};

/** ready, busy, bad or idle, for a state of an instance, a slot, or an event. */
export const mood = (state) => KINDS[state] ?? "idle";
