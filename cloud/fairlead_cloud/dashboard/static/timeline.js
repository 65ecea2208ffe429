// What happened, the newest first.

import { clock, element } from "./format.js";
import { mood } from "./palette.js";

const KEPT = 500;

export class Timeline {
  constructor(holder, filter) {
    this.holder = holder;
    this.words = "";
    filter.addEventListener("input", () => {
      this.words = filter.value.trim().toLowerCase();
      for (const row of holder.children) row.hidden = !this.matches(row);
    });
  }

  add(event, fresh = true) {
    const row = element(
      "li",
      { className: fresh ? "fresh" : "", title: new Date(event.time * 1000).toLocaleString() },
      element("time", {}, clock(event.time)),
      element("i", { className: `key ${mood(event.type.split(".")[1])}` }),
      element("span", { className: "type" }, event.type.replace(".", " ")),
      element("span", { className: "subject" }, subject(event)),
      element("span", { className: "hint" }, said(event)),
    );
    row.hidden = !this.matches(row);
    this.holder.prepend(row);
    while (this.holder.children.length > KEPT) this.holder.lastChild.remove();
  }

  matches(row) {
    return !this.words || row.textContent.toLowerCase().includes(this.words);
  }
}

/** A lease key without its site: all that is shown here is of one site. */
const subject = ({ subject: text }) => (text.split("/").length === 3 ? text.slice(text.indexOf("/") + 1) : text);

function said({ data }) {
  const parts = Object.entries(data)
    .filter(([, value]) => value !== "" && value !== null && value !== false)
    .map(([name, value]) => (name === "slots" ? slots(value) : name === "reason" || name === "trigger" ? value : `${name} ${value}`));
  return parts.filter(Boolean).join(" · ");
}

const slots = (value) => Object.entries(value).map(([replica, where]) => `#${replica} ${where.replace(":", " ")}`).join(", ");
