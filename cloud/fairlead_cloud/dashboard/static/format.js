// Quantities for people. Names of attributes end in their SI unit; what is shown follows from that.

function scaled(value, base, units) {
  let power = 0;
  while (Math.abs(value) >= base && power < units.length - 1) {
    value /= base;
    power += 1;
  }
  return `${Number(value.toPrecision(3))} ${units[power]}`;
}

export const bytes = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
export const bits = (value) => scaled(value, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);

export function seconds(value) {
  if (value < 1e-3) return `${Number((value * 1e6).toPrecision(3))} µs`;
  if (value < 1) return `${Number((value * 1e3).toPrecision(3))} ms`;
  return value < 120 ? `${Number(value.toPrecision(3))} s` : `${Math.round(value / 60)} min`;
}

const UNITS = [
  [/_bytes_per_s$/, (v) => scaled(v, 1000, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])],
  [/_bits_per_s$/, bits],
  [/flops_per_s$/, (v) => scaled(v, 1000, ["flop/s", "kflop/s", "Mflop/s", "Gflop/s", "Tflop/s"])],
  [/_bytes$/, bytes],
  [/_per_s$/, (v) => `${Number(v.toPrecision(3))} /s`],
  [/_hz$/, (v) => scaled(v, 1000, ["Hz", "kHz", "MHz", "GHz"])],
  [/_s$/, seconds],
  [/_watts$/, (v) => `${Number(v.toPrecision(3))} W`],
  [/_celsius$/, (v) => `${Number(v.toPrecision(3))} °C`],
  [/_dbm?$/, (v) => `${Number(v.toPrecision(3))} dB`],
  [/_j$/, (v) => `${Number(v.toPrecision(3))} J`],
  [/^(load|charge|loss|memory_pressure|sensing_share)$/, (v) => `${Math.round(v * 100)} %`],
];

/** An attribute's value with its unit. */
export function measured(name, value) {
  const unit = UNITS.find(([pattern]) => pattern.test(name));
  return unit ? unit[1](value) : String(Number(value.toPrecision(4)));
}

/** An attribute's name without its unit, in words. */
export function words(name) {
  return name
    .replace(/_(bytes_per_s|bits_per_s|per_s|bytes|hz|watts|celsius|dbm?|j|s)$/, "")
    .replace(/^label\./, "label ")
    .replaceAll("_", " ");
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour12: false });

/** An element with classes, attributes by property, and children; texts are never parsed as HTML. */
export function element(tag, { style, data, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(style ?? {})) made.style.setProperty(name, value);
  Object.assign(made.dataset, data);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
