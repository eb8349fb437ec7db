// What happens, the newest first; it can be held to be read.

import { openDetail } from "./detail.js";
import { $, clock, count, duration, el, peer, say, size, visible } from "./draw.js";

const EVENTS = 150;
const KNOWN = new Set(["time", "event.name", "event.sequence", "host.name", "service.instance.id", "session.id", "listener", "connector", "handler", "client.address", "client.port", "network.local.address"]);
const KINDS = { "session.refused": "warn", "handler.failed": "bad", "configuration.refused": "bad", "sink.lost": "bad", lost: "warn" };

let held = false;
// The last that is shown, and of which run of the daemon: a stream that is opened anew begins with
// what happened last, most of which is here already.
let newest = { run: "", sequence: 0 };
let waiting = [];

function summary(event) {
  const name = event["event.name"];
  if (name === "lost") return `${count(event.count)} more, too fast to show`;
  if (name === "session.closed") {
    return `${event["close.reason"]} after ${duration(event.duration)}, ${size(event["bytes.in"])} in, ${size(event["bytes.out"])} out`;
  }
  if (name === "session.opened") return "";
  if (name === "session.refused") return event["refuse.reason"];
  if (name === "listener.changed") return `${event.address} ${event.state ? `is ${event.state}` : event.up ? "is open" : "is closed"}`;
  if (name === "connector.changed") return [event.state, event.detail].filter(Boolean).join(": ");
  const rest = Object.entries(event).filter(([key]) => !KNOWN.has(key));
  return rest.map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
}

// Whether an event isn't here yet.
export function isNew(event) {
  const [run, sequence] = [event["service.instance.id"], event["event.sequence"]];
  if (run === newest.run && sequence <= newest.sequence) return false;
  newest = { run, sequence };
  return true;
}

export function note(event) {
  if (held) {
    waiting.push(event);
    if (waiting.length > EVENTS) waiting.shift();
    return;
  }
  const list = $("events");
  $("no-events").hidden = true;
  const name = event["event.name"];
  const who = event["client.address"] ? peer({ address: event["client.address"], port: event["client.port"] }) : "";
  const where = event.listener || event.connector || "";
  const id = event["session.id"];
  const title = el("b", {}, visible(name));
  const head = id ? el("button", { type: "button", class: "plain", title: "Show this session" }, title) : title;
  const item = el("li", { class: KINDS[name] || "" },
    el("div", {}, head, el("time", {}, event.time ? clock(Date.parse(event.time) / 1000) : "")),
    el("div", { class: "quiet" }, visible([where, who].filter(Boolean).join(" · "))),
    el("div", { class: "words" }, visible(summary(event)).slice(0, 300)));
  if (id) {
    item.classList.add("link-to");
    item.addEventListener("click", () => openDetail(id)); // the button's, too
  }
  list.prepend(item);
  while (list.children.length > EVENTS) list.lastElementChild.remove();
}

$("hold").addEventListener("click", (event) => {
  held = !held;
  event.target.setAttribute("aria-pressed", String(held));
  say(event.target, held ? "Go on" : "Pause");
  if (!held) {
    waiting.forEach(note);
    waiting = [];
  }
});
