// The last negotiation of a workload: every bid with the terms of its score, and why it won or lost.

import { clock, element } from "./format.js";
import { mood, TERMS } from "./palette.js";

const ORDER = ["won", "lost", "refused", "declined", "no-answer"];
const WORDS = { won: "won", lost: "lost", refused: "refused", declined: "declined", "no-answer": "no answer" };
const MOODS = { won: "ready", lost: "idle", refused: "bad", declined: "idle", "no-answer": "bad" };

export class Explain {
  constructor(holder, hint) {
    this.holder = holder;
    this.hint = hint;
    this.drawn = "";
  }

  show(site, name) {
    const record = site.placements.find(({ workload }) => workload === name);
    const drawn = JSON.stringify(record ?? name);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.hint.textContent = name ?? "";
    if (!record) {
      this.holder.replaceChildren(
        element("p", { className: "nothing" }, name ? "No steward has decided on it yet." : "Choose a workload."),
      );
      return;
    }
    const bids = [...record.bids].sort(
      (a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome) || (a.score ?? Infinity) - (b.score ?? Infinity),
    );
    const terms = termsOf(bids);
    this.holder.replaceChildren(
      this.headline(record),
      ...(terms.length ? [legend(terms)] : []),
      ...bids.map((bid) => this.bid(bid, terms, scale(bids))),
      ...(bids.length ? [] : [element("p", { className: "nothing" }, "No bids are recorded for it.")]),
    );
  }

  headline(record) {
    const placed = record.slots.filter(({ state }) => state === "placed").length;
    const when = record.decided_at ? ` at ${clock(record.decided_at)}` : "";
    const open = record.slots.filter(({ state }) => state !== "placed");
    return element(
      "div",
      { className: "headline" },
      element("p", {}, `${placed} of ${record.slots.length} placed by steward ${record.steward}${when}. `,
        record.trigger ? element("span", { className: "hint" }, `Called because: ${record.trigger}.`) : null),
      ...open.map(({ key, state, reason }) =>
        element("p", {}, element("span", { className: `badge ${mood(state)}` }, state), ` replica ${key.replica}: ${reason || "no reason given"}`),
      ),
    );
  }

  bid(bid, terms, longest) {
    const score = bid.score === null ? "" : bid.score.toFixed(2);
    const parts = terms
      .filter((term) => bid.terms[term] > 0)
      .map((term) =>
        element("i", {
          title: `${term} ${bid.terms[term].toFixed(2)}`,
          className: `term-${terms.indexOf(term)}`,
          style: { "flex-basis": `${(bid.terms[term] / longest) * 100}%` },
        }),
      );
    return element(
      "article",
      { className: `bid ${bid.outcome}` },
      element(
        "div",
        { className: "who" },
        element("span", { className: `badge ${MOODS[bid.outcome]}` }, WORDS[bid.outcome]),
        element("span", { className: "node" }, bid.node),
        element("span", { className: "hint" }, ` ${bid.variant}${bid.simulated ? " (simulated)" : ""}`),
        element("span", { className: "score number", title: "Score: lower is better" }, score),
      ),
      parts.length ? element("div", { className: "bar", role: "img", ariaLabel: said(bid, terms) }, ...parts) : null,
      element("p", { className: "reason" }, bid.reason),
    );
  }
}

function termsOf(bids) {
  const named = new Set(bids.flatMap(({ terms }) => Object.keys(terms).filter((term) => terms[term] > 0)));
  const known = TERMS.filter((term) => named.has(term));
  return [...known, ...[...named].filter((term) => !TERMS.includes(term)).sort()];
}

/** Bars are comparable up to three times the best score; what is worse fills the row. */
function scale(bids) {
  const scores = bids.map(({ score }) => score).filter((score) => score !== null);
  return Math.min(Math.max(...scores), Math.min(...scores) * 3) || 1;
}

const said = (bid, terms) => terms.map((term) => `${term} ${(bid.terms[term] ?? 0).toFixed(2)}`).join(", ");

function legend(terms) {
  const keys = terms.map((term, index) => element("li", {}, element("i", { className: `key term-${index}` }), term));
  return element("div", { className: "terms" }, element("ul", { className: "legend" }, ...keys), element("span", { className: "hint" }, "lower is better"));
}
