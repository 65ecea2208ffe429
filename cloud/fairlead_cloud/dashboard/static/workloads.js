// Workloads with their replicas: where each runs, in which variant, and how long its lease still lasts.

import { bytes, element } from "./format.js";
import { mood } from "./palette.js";

export class Workloads {
  constructor(holder, chosen) {
    this.holder = holder;
    this.chosen = chosen;
    this.current = null;
    this.longest = new Map();
    this.bars = [];
  }

  show(site, current) {
    this.current = current;
    this.bars = [];
    const cards = site.workloads.map((view) => this.card(site, view));
    this.holder.replaceChildren(
      ...(cards.length
        ? cards
        : [element("p", { className: "nothing" }, "Nothing is wanted yet: ", element("code", {}, "fairlead apply FILE"))]),
    );
    this.tick(site);
  }

  /** Count the leases down between two answers of the server. */
  tick(site) {
    for (const { workload, replica, bar, text } of this.bars) {
      const lease = site.lease(workload, replica);
      const key = `${workload}/${replica}`;
      const left = lease?.node ? lease.remaining_s : 0;
      const longest = Math.max(this.longest.get(key) ?? 0, left);
      this.longest.set(key, longest);
      bar.style.setProperty("--share", longest ? String(left / longest) : "0");
      bar.classList.toggle("short", left > 0 && left < longest / 3);
      text.textContent = left > 0 ? `${left.toFixed(1)} s` : "none";
    }
  }

  card(site, view) {
    const { name, workload, ready } = view;
    const state = ready >= workload.replicas ? "ready" : ready > 0 ? "busy" : "bad";
    const rows = view.slots.map((slot) => this.replica(site, view, slot));
    const head = element(
      "button",
      { type: "button", className: "pick", onclick: () => this.chosen(name) },
      element("span", { className: "title" }, name),
      element("span", { className: "hint" }, `${workload.plugin} · generation ${view.generation}`),
      element("span", { className: `badge ${workload.replicas ? state : "idle"}` }, `${ready} of ${workload.replicas} ready`),
    );
    head.setAttribute("aria-pressed", String(name === this.current));
    const titles = ["#", "node · variant", "epoch", "state", "memory", "lease"];
    const table = element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, ...rows),
    );
    const waiting = element("p", { className: "nothing" }, "No steward has taken it up yet.");
    return element("article", { className: name === this.current ? "card current" : "card" }, head, rows.length ? table : waiting);
  }

  replica(site, view, slot) {
    const report = view.instances.find(({ key, epoch }) => key.replica === slot.key.replica && epoch === slot.epoch);
    const state = slot.state === "placed" && report ? report.state : slot.state;
    const offline = slot.node && !site.online(slot.node);
    const bar = element("span", { className: "lease" }, element("i"));
    const text = element("span", { className: "number" });
    this.bars.push({ workload: view.name, replica: slot.key.replica, bar, text });
    const memory = report?.memory_bytes ? bytes(report.memory_bytes) : "–";
    const limit = report?.limit_bytes ? `limit ${bytes(report.limit_bytes)}, by ${report.limiter || "nothing"}` : "";
    const where = slot.node
      ? [element("span", { className: "node" }, slot.node), element("span", { className: "hint" }, ` ${slot.variant ?? ""}${report?.simulated ? " (simulated)" : ""}`)]
      : [element("span", { className: "hint" }, slot.reason || "nowhere")];
    return element(
      "tr",
      { className: offline ? "offline" : "", title: report?.reason || slot.reason },
      element("td", { className: "number" }, String(slot.key.replica)),
      element("td", {}, ...where),
      element("td", { className: "number" }, slot.epoch ? String(slot.epoch) : "–"),
      element("td", {}, element("span", { className: `badge ${offline ? "bad" : mood(state)}` }, offline ? "offline" : state)),
      element("td", { className: "number", title: limit }, memory),
      element("td", { className: "lease-cell" }, bar, text),
    );
  }
}
