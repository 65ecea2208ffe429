// The control plane's API, as this page uses it.

const KEY = "fairlead-token";

/** The server does not know the token, or its role is too low. */
export class Refused extends Error {}

/** The token of this tab: from the address (#token=...), which then forgets it, or as it was entered. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    keep(given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY);
}

export function keep(text) {
  sessionStorage.setItem(KEY, text.trim());
}

export function forget() {
  sessionStorage.removeItem(KEY);
}

async function open(path, options = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}`, ...options.headers };
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.ok) return response;
  const detail = await response.json().then((body) => body.detail, () => response.statusText);
  throw response.status === 401 || response.status === 403 ? new Refused(detail) : new Error(detail);
}

export async function get(path) {
  return (await open(`/api/v1${path}`)).json();
}

/**
 * Follow the event log for ever. A broken connection is opened again after the last event that was heard.
 *
 * @param {number} after number of the last known event
 * @param {(event: {seq: number, type: string, time: number, subject: string, data: object}) => void} heard
 * @param {(live: boolean) => void} changed hears whether the connection stands
 */
export async function follow(after, heard, changed) {
  let wait = 500;
  for (;;) {
    try {
      const response = await open("/api/v1/events", { headers: { "Last-Event-ID": String(after) } });
      changed(true);
      wait = 500;
      for await (const event of parse(response.body)) {
        after = event.seq;
        heard(event);
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    changed(false);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 10000);
  }
}

// The server says something every 15 s; after much longer silence the connection is dead.
const SILENCE_MS = 40000;

async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await beforeSilence(reader.read());
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const event = read(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function beforeSilence(reading) {
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("silence")), SILENCE_MS);
  });
  return Promise.race([reading, silence]).finally(() => clearTimeout(timer));
}

function read(block) {
  const fields = Object.fromEntries(
    block.split("\n").filter((line) => !line.startsWith(":")).map((line) => {
      const colon = line.indexOf(": ");
      return [line.slice(0, colon), line.slice(colon + 2)];
    }),
  );
  if (!fields.data) return null;
  const { time, subject, ...data } = JSON.parse(fields.data);
  return { seq: Number(fields.id), type: fields.event, time, subject, data };
}
