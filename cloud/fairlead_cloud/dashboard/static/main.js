// The page: asks for a token, then shows the site and follows it.

import { follow, forget, get, keep, Refused, token } from "./api.js";
import { element } from "./format.js";
import { Explain } from "./explain.js";
import { Graph } from "./graph.js";
import { Site } from "./site.js";
import { Timeline } from "./timeline.js";
import { Workloads } from "./workloads.js";

const $ = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.site = new Site();
    this.current = null;
    this.following = false;
    this.workloads = new Workloads($("workloads"), (name) => this.choose(name));
    this.explain = new Explain($("explain"), $("explain-hint"));
    this.timeline = new Timeline($("events"), $("filter"));
    this.graph = null;
  }

  async open() {
    const events = await get("/events/log?last=200");
    $("page").hidden = false;
    this.graph = new Graph($("graph"), $("details"), (name) => this.choose(name));
    events.forEach((event) => this.timeline.add(event, false));
    this.site.onChange((error) => this.show(error));
    await this.site.start();
    setInterval(() => this.workloads.tick(this.site), 250);
    $("fit").addEventListener("click", () => this.graph.fit());
    follow(events.at(-1)?.seq ?? 0, (event) => this.heard(event), (live) => this.live(live)).catch(leave);
  }

  heard(event) {
    this.timeline.add(event);
    this.site.soon();
  }

  live(live) {
    this.following = live;
    this.status();
    if (live) this.site.soon(0);
  }

  choose(name) {
    this.current = name;
    this.workloads.show(this.site, name);
    this.explain.show(this.site, name);
  }

  show(error) {
    if (error instanceof Refused) leave(error);
    this.site.reachable = !error;
    this.status();
    if (error) return;
    const names = this.site.workloads.map(({ name }) => name);
    if (!names.includes(this.current)) this.current = this.most() ?? names[0] ?? null;
    $("graph-empty").hidden = this.graph.show(this.site) > 0;
    this.workloads.show(this.site, this.current);
    this.explain.show(this.site, this.current);
    this.figures();
  }

  /** The workload with the most to tell: the one with the most scored bids. */
  most() {
    const count = ({ bids }) => bids.filter(({ score }) => score !== null).length;
    return [...this.site.placements].sort((a, b) => count(b) - count(a))[0]?.workload;
  }

  figures() {
    const { health, nodes, workloads, leases } = this.site;
    const wanted = workloads.reduce((sum, { workload }) => sum + workload.replicas, 0);
    const ready = workloads.reduce((sum, view) => sum + view.ready, 0);
    const shown = {
      devices: `${health.nodes_online} of ${nodes.length} online`,
      replicas: `${ready} of ${wanted} ready`,
      leases: `${leases.filter(({ remaining_s }) => remaining_s > 0).length} held`,
    };
    $("site").textContent = health.site;
    document.title = `Fairlead · ${health.site}`;
    $("figures").replaceChildren(
      ...Object.entries(shown).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
    );
  }

  status() {
    const bus = this.site.health?.bus_connected ?? true;
    const [word, mood] = !this.site.reachable
      ? ["server unreachable", "bad"]
      : !bus
        ? ["broker unreachable", "bad"]
        : this.following
          ? ["live", "ready"]
          : ["connecting", "busy"];
    $("live").textContent = word;
    $("live").className = `live ${mood}`;
    document.body.classList.toggle("stale", mood === "bad");
  }
}

let page = null;

function leave(error) {
  forget();
  if (error instanceof Refused) sessionStorage.setItem("fairlead-problem", error.message);
  location.reload();
}

async function enter() {
  try {
    page = new Page();
    await page.open();
    $("enter").close();
  } catch (error) {
    if (!(error instanceof Refused)) {
      ask(`The server does not answer: ${error.message}`);
      return;
    }
    forget();
    ask(error.message);
  }
}

function ask(problem = "") {
  $("problem").textContent = problem;
  if (!$("enter").open) $("enter").showModal();
  $("token").focus();
}

function theme(chosen) {
  if (chosen) localStorage.setItem("fairlead-theme", chosen);
  const wanted = localStorage.getItem("fairlead-theme");
  const dark = wanted ? wanted === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  page?.graph?.restyle();
}

$("enter-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep($("token").value);
  $("token").value = "";
  enter();
});
$("enter").addEventListener("cancel", (event) => event.preventDefault());
$("leave").addEventListener("click", () => leave(null));
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme());

theme();
const problem = sessionStorage.getItem("fairlead-problem") ?? "";
sessionStorage.removeItem("fairlead-problem");
if (token()) enter();
else ask(problem);
