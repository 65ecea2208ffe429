// What is known of the site now, fetched again when events say that it has changed.

import { get } from "./api.js";

/** How often everything is fetched anew although nothing was heard: free memory, loads, links. */
const REFRESH_MS = 5000;
/** How often leases alone are fetched: renewals are no events, and a lease may last but three seconds. */
const LEASES_MS = 750;
/** Changes come in bursts; this long is waited for the rest of one. */
const GATHER_MS = 150;

export class Site {
  constructor() {
    this.health = null;
    this.nodes = [];
    this.graph = { nodes: [], edges: [] };
    this.workloads = [];
    this.placements = [];
    this.leases = [];
    this.leasesAt = 0;
    this.reachable = true;
    this.listeners = [];
    this.fetching = false;
    this.again = false;
    this.timer = null;
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  /** Fetch now, and from now on. The first failure is the caller's; later ones show in `reachable`. */
  async start() {
    await this.fetch();
    setInterval(() => document.hidden || this.soon(0), REFRESH_MS);
    setInterval(() => document.hidden || this.fetchLeases(), LEASES_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.soon(0));
  }

  /** Something changed. */
  soon(wait = GATHER_MS) {
    if (this.timer !== null) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.fetch().catch((error) => this.listeners.forEach((listener) => listener(error)));
    }, wait);
  }

  async fetch() {
    if (this.fetching) {
      this.again = true;
      return;
    }
    this.fetching = true;
    try {
      const paths = ["/health", "/nodes", "/graph", "/workloads", "/placements", "/leases"];
      const asked = performance.now();
      const [health, nodes, graph, workloads, placements, leases] = await Promise.all(paths.map(get));
      Object.assign(this, { health, nodes, graph, workloads, placements, leases, leasesAt: asked });
      this.listeners.forEach((listener) => listener(null));
    } finally {
      this.fetching = false;
      if (this.again) {
        this.again = false;
        this.soon();
      }
    }
  }

  /** A failure is left to the next whole fetch, which tells of it. */
  async fetchLeases() {
    if (this.fetching) return;
    const asked = performance.now();
    const leases = await get("/leases").catch(() => null);
    if (leases && asked > this.leasesAt) Object.assign(this, { leases, leasesAt: asked });
  }

  /** Seconds that remain of a replica's lease, and the most that was ever seen of it. */
  lease(workload, replica) {
    const found = this.leases.find((lease) => lease.workload === workload && lease.replica === replica);
    if (!found) return null;
    const left = found.remaining_s - (performance.now() - this.leasesAt) / 1000;
    return { ...found, remaining_s: Math.max(0, left) };
  }

  online(node) {
    return this.nodes.find((view) => view.status.node === node)?.status.online ?? true;
  }
}
