// The live graph: devices as boxes with their parts, memory as bars, links between them.

import { bits, bytes, element, measured, seconds, words } from "./format.js";
import { ordered, PART, positions } from "./layout.js";
import { color, mood } from "./palette.js";

const PARTS = new Set(["processor", "memory", "storage", "energy", "radio", "instance"]);
const GONE = new Set(["stopped"]);

export class Graph {
  constructor(holder, details, chosen) {
    this.holder = holder;
    this.details = details;
    this.chosen = chosen;
    this.shape = "";
    this.known = new Map();
    this.open = null;
    this.cy = cytoscape({
      container: holder,
      style: style(),
      minZoom: 0.2,
      maxZoom: 2.5,
      boxSelectionEnabled: false,
      autounselectify: true,
      autoungrabify: true,
    });
    this.cy.on("tap", (event) => this.tapped(event.target));
    new ResizeObserver(() => this.fit()).observe(holder);
  }

  restyle() {
    this.cy.style(style()).update();
    for (const node of this.cy.nodes()) node.data("bar", bar(node.data("share"), node.data("offline")));
  }

  fit() {
    this.cy.resize();
    this.cy.fit(undefined, 26);
  }

  /** Draw what is known of the site; positions change only when devices or parts come or go. */
  show(site) {
    const wanted = elements(site);
    const told = [...site.graph.nodes, ...site.graph.edges].map(({ data }) => data);
    this.known = new Map([...told, ...instances(site)].map((data) => [data.id, data]));
    this.cy.batch(() => this.update(wanted));
    const shape = wanted.map(({ data }) => `${data.id} ${data.parent ?? ""}`).join("\n");
    if (shape !== this.shape) {
      this.shape = shape;
      this.arrange(wanted);
    }
    if (this.open) this.describe(this.open);
    return wanted.length;
  }

  update(wanted) {
    const ids = new Set(wanted.map(({ data }) => data.id));
    this.cy.elements().filter((old) => !ids.has(old.id())).remove();
    for (const made of wanted) {
      const old = this.cy.getElementById(made.data.id);
      if (old.empty()) this.cy.add(made);
      else old.data(made.data).classes(made.classes);
    }
  }

  arrange(wanted) {
    const devices = new Map();
    for (const { data } of wanted) if (data.kind === "node") devices.set(data.id, []);
    for (const { data } of wanted) if (data.parent) devices.get(data.parent)?.push(data);
    const area = this.holder.getBoundingClientRect();
    const { places, cells } = positions(devices, area.width / Math.max(1, area.height));
    this.cy.batch(() => {
      for (const [id, place] of places) this.cy.getElementById(id).position(place);
    });
    this.cy.batch(() => this.bow(cells));
    this.fit();
  }

  /** Links of one row that would pass behind the boxes between go below them. */
  bow(cells) {
    for (const edge of this.cy.edges()) {
      const [from, to] = [cells.get(edge.data("source")), cells.get(edge.data("target"))];
      const over = from && to && from.row === to.row && Math.abs(from.column - to.column) > 1;
      edge.data("bend", over ? (from.column < to.column ? 110 : -110) : 0);
      edge.data("over", Boolean(over));
    }
  }

  tapped(target) {
    const data = target === this.cy ? null : this.known.get(target.data("about") ?? target.id());
    this.open = data ? data.id : null;
    if (data?.kind === "instance") this.chosen(data.properties.workload);
    this.describe(this.open);
  }

  describe(id) {
    const data = id ? this.known.get(id) : null;
    this.details.hidden = !data;
    if (!data) return;
    const rows = [
      ...Object.entries(data.properties).map(([name, value]) => [words(name), String(value)]),
      ...Object.entries(data.measured).map(([name, { value, uncertainty }]) => [
        words(name),
        measured(name, value) + (uncertainty ? ` ± ${measured(name, uncertainty)}` : ""),
      ]),
    ];
    const name = data.source ? `${data.source} → ${data.target}` : data.id;
    this.details.replaceChildren(
      element("h3", {}, name, element("span", { className: "hint" }, data.simulated ? `${data.kind}, simulated` : data.kind)),
      element("dl", {}, ...rows.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)])),
    );
  }
}

function elements(site) {
  const parts = site.graph.nodes.map(({ data }) => data).filter(({ kind }) => kind !== "instance");
  const devices = new Map(parts.filter(({ kind }) => kind === "node").map((data) => [data.id, data]));
  for (const { status } of site.nodes) {
    if (!devices.has(status.node)) devices.set(status.node, { id: status.node, kind: "node", label: status.node });
  }
  // The control plane first: clients come in there.
  const names = [...devices.keys()].sort(
    (a, b) => (profile(site, b) === "control-plane") - (profile(site, a) === "control-plane") || a.localeCompare(b),
  );
  const inside = [...parts, ...instances(site)].filter(({ kind, node }) => PARTS.has(kind) && devices.has(node));
  return [
    ...names.map((name) => device(site, devices.get(name), inside)),
    ...ordered(inside).map((data) => part(site, data)),
    ...links(site, devices),
  ];
}

/** Instances by their nodes' reports, which are newer than the graph. */
function instances(site) {
  return site.nodes.flatMap(({ status, instances: reports }) =>
    reports.filter(({ state }) => !GONE.has(state)).map((report) => {
      const { key, simulated, reason, pid, ...said } = report;
      const numbers = ["memory_bytes", "limit_bytes", "throughput_per_s", "latency_p90_s", "started_s"];
      const values = numbers.filter((name) => typeof said[name] === "number").map((name) => [name, { value: said[name] }]);
      const { variant, state, epoch, limiter, address } = said;
      const properties = { workload: key.workload, replica: key.replica, variant, state, epoch };
      const more = Object.entries({ limiter, address, reason }).filter(([, value]) => value);
      return {
        id: `${status.node} runs ${key.workload}/${key.replica} ${epoch}`,
        kind: "instance",
        node: status.node,
        label: key.workload,
        simulated,
        properties: { ...properties, ...Object.fromEntries(more) },
        measured: Object.fromEntries(values),
      };
    }),
  );
}

const profile = (site, node) => site.nodes.find((view) => view.status.node === node)?.status.profile ?? "";

function device(site, data, inside) {
  const offline = !site.online(data.id);
  const kind = profile(site, data.id);
  const label = [data.id, kind && kind !== data.id ? ` · ${kind}` : "", offline ? " · offline" : ""].join("");
  const classes = ["device", offline ? "offline" : "", inside.some(({ node }) => node === data.id) ? "" : "bare"];
  return { group: "nodes", data: { id: data.id, kind: "node", label }, classes: classes.filter(Boolean).join(" ") };
}

function part(site, data) {
  const offline = !site.online(data.node);
  const value = (name) => data.measured[name]?.value;
  const share = used(data.kind, value);
  const classes = ["part", data.kind, data.simulated ? "simulated" : "", offline ? "offline" : ""];
  if (data.kind === "instance") classes.push(mood(data.properties.state));
  return {
    group: "nodes",
    data: {
      id: data.id,
      kind: data.kind,
      parent: data.node,
      label: label(data, value) + (data.simulated ? " (sim.)" : ""),
      share,
      offline,
      bar: bar(share, offline),
    },
    classes: classes.filter(Boolean).join(" "),
  };
}

function label(data, value) {
  const { properties } = data;
  const name = data.label.replace(/^gpu(\d+)-vram$/, "vram$1");
  switch (data.kind) {
    case "memory":
    case "storage":
      return `${name}  ${bytes((value("total_bytes") ?? 0) - (value("free_bytes") ?? 0))} of ${bytes(value("total_bytes") ?? 0)}`;
    case "processor":
      return value("cores") === undefined
        ? `${name}  ${properties.model ?? properties.architecture ?? ""}`
        : `${name}  ${Number((value("cores") - (value("cores_free") ?? 0)).toFixed(1))} of ${Number(value("cores").toFixed(1))} cores`;
    case "energy":
      return `${name}  ${Math.round((value("charge") ?? 0) * 100)} %${value("charging") ? " charging" : ""}`;
    case "instance":
      return `${properties.workload}/${properties.replica}  ${properties.variant}`;
    default:
      return value("bandwidth_bits_per_s") ? `${name}  ${bits(value("bandwidth_bits_per_s"))}` : name;
  }
}

function used(kind, value) {
  const part = (free, total) => (total ? Math.min(1, Math.max(0, 1 - (free ?? 0) / total)) : 0);
  if (kind === "memory" || kind === "storage") return part(value("free_bytes"), value("total_bytes"));
  if (kind === "processor") return part(value("cores_free"), value("cores"));
  return kind === "energy" ? (value("charge") ?? 0) : 0;
}

/** The fill of a part: what is in use up to its share, then what is free. */
function bar(share, offline) {
  const edge = `${Math.round((share ?? 0) * 100)}%`;
  const full = color(offline ? "line" : "used");
  return { colors: `${full} ${full} ${color("part")} ${color("part")}`, stops: `0% ${edge} ${edge} 100%` };
}

/** One line for each pair of devices, whichever directions are known. */
function links(site, devices) {
  const pairs = new Map();
  for (const { data } of site.graph.edges) {
    if (data.kind !== "link") continue;
    const [from, to] = [data.source.split("/")[0], data.target.split("/")[0]];
    if (!devices.has(from) || !devices.has(to)) continue;
    const key = [from, to].sort().join(" ");
    pairs.set(key, [...(pairs.get(key) ?? []), { ...data, from, to }]);
  }
  return [...pairs].map(([key, found]) => {
    const texts = new Set(found.map(speed));
    const offline = !site.online(found[0].from) || !site.online(found[0].to);
    const classes = ["link", found.some(({ simulated }) => simulated) ? "simulated" : "", offline ? "offline" : ""];
    return {
      group: "edges",
      data: { id: `link ${key}`, about: found[0].id, source: found[0].from, target: found[0].to, label: [...texts].join("\n") },
      classes: classes.filter(Boolean).join(" "),
    };
  });
}

function speed({ measured: values, simulated }) {
  const said = [
    values.bandwidth_bits_per_s && bits(values.bandwidth_bits_per_s.value),
    values.latency_s && seconds(values.latency_s.value),
  ].filter(Boolean);
  return said.join("\n") + (simulated ? " (sim.)" : "");
}

function style() {
  const font = "Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  return [
    {
      selector: "node",
      style: { "font-family": font, "font-size": 11, color: color("text"), label: "data(label)" },
    },
    {
      selector: ".device",
      style: {
        shape: "round-rectangle",
        "corner-radius": 12,
        "background-color": color("panel"),
        "border-width": 1.5,
        "border-color": color("strong-line"),
        padding: 14,
        "text-valign": "top",
        "text-margin-y": -7,
        "font-size": 13,
        "font-weight": 600,
      },
    },
    { selector: ".device.bare", style: { width: PART.width, height: 34, "text-valign": "center", "text-margin-y": 0 } },
    {
      selector: ".part",
      style: {
        shape: "round-rectangle",
        "corner-radius": 6,
        width: PART.width,
        height: PART.height,
        "background-color": color("part"),
        "border-width": 1,
        "border-color": color("line"),
        "text-valign": "center",
        "text-wrap": "ellipsis",
        "text-max-width": PART.width - 14,
      },
    },
    {
      selector: ".memory, .storage, .processor, .energy",
      style: {
        "background-fill": "linear-gradient",
        "background-gradient-direction": "to-right",
        "background-gradient-stop-colors": (node) => node.data("bar").colors,
        "background-gradient-stop-positions": (node) => node.data("bar").stops,
      },
    },
    { selector: ".instance", style: { "font-weight": 600, "border-width": 1.5, "background-color": color("idle-soft"), "border-color": color("idle") } },
    { selector: ".instance.ready", style: { "background-color": color("ready-soft"), "border-color": color("ready") } },
    { selector: ".instance.busy", style: { "background-color": color("busy-soft"), "border-color": color("busy") } },
    { selector: ".instance.bad", style: { "background-color": color("bad-soft"), "border-color": color("bad") } },
    { selector: "node.simulated", style: { "border-style": "dashed" } },
    {
      selector: "edge",
      style: {
        width: 1.6,
        "z-compound-depth": "bottom",
        "line-color": color("strong-line"),
        "curve-style": "bezier",
        label: "data(label)",
        "font-family": font,
        "font-size": 11,
        "text-wrap": "wrap",
        color: color("muted"),
        "text-background-color": color("ground"),
        "text-background-opacity": 0.92,
        "text-background-padding": 3,
        "text-background-shape": "round-rectangle",
      },
    },
    {
      selector: "edge[?over]",
      style: {
        "curve-style": "unbundled-bezier",
        "control-point-distances": "data(bend)",
        "control-point-weights": 0.5,
        "source-endpoint": "0 50%",
        "target-endpoint": "0 50%",
      },
    },
    { selector: "edge.simulated", style: { "line-style": "dashed", "line-dash-pattern": [6, 4] } },
    { selector: ".offline", style: { opacity: 0.45 } },
  ];
}
