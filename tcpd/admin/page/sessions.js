// The table of sessions, and which of them the daemon is asked for.

import { tell } from "./ask.js";
import { openDetail } from "./detail.js";
import { $, Rows, count, duration, el, peer, rate, say, size, visible } from "./draw.js";

const COLUMNS = [
  { key: "client", title: "Client", of: (s) => visible(peer(s.client)), class: "who" },
  { key: "listener", title: "Listener", of: (s) => s.listener, class: "place" },
  { key: "id", title: "Session", of: (s) => s.id, class: "id" },
  { key: "age", title: "Age", of: (s) => duration(s.age), number: true },
  { key: "idle", title: "Idle", of: (s) => (s.idle < 1 ? "now" : duration(s.idle)), number: true, class: "idle" },
  { key: "in", title: "In", of: (s) => size(s.bytes.in), number: true, class: "sum" },
  { key: "out", title: "Out", of: (s) => size(s.bytes.out), number: true, class: "sum" },
  { key: "rate-in", title: "In/s", of: (s) => rate(s.rate.in), number: true, class: "in" },
  { key: "rate-out", title: "Out/s", of: (s) => rate(s.rate.out), number: true, class: "out" },
  { key: "", title: "RTT", of: (s) => (s.rtt === null ? "–" : duration(s.rtt)), number: true, class: "rtt" },
  { key: "queued", title: "Buffer", of: (s) => (s.queued ? size(s.queued) : ""), number: true, class: "buffer" },
];

const query = { sort: "-rate", filter: "", listener: "", limit: "100" };
if (matchMedia("(max-width: 760px)").matches) $("limit").value = query.limit = "50";

// Asks the daemon anew, for what is wanted now; the page puts its own here.
let ask = () => {};

export function askAnewWith(call) {
  ask = call;
}

export function wanted() {
  return new URLSearchParams(Object.entries(query).filter(([, value]) => value));
}

const drawn = new Rows($("sessions").tBodies[0], (thing) => {
  const cells = COLUMNS.map((column) => el("td", { class: `${column.number ? "n " : ""}${column.class || ""}` }));
  const text = el("span");
  const marks = el("span", { class: "marks" });
  cells[0].append(el("button", { type: "button", class: "plain" }, text), marks);
  const node = el("tr", { title: "Show this session" }, ...cells);
  node.addEventListener("click", () => openDetail(thing.id)); // the button's, too
  return {
    node,
    update(now) {
      COLUMNS.forEach((column, index) => say(index ? cells[index] : text, column.of(now)));
      const words = [now.tls && "TLS", now.capture && "captured", now.hop && "proxied", now.role === "connector" && "dialled", !now.reading && "held back"];
      say(marks, words.filter(Boolean).join(" · "));
    },
  };
});

export function drawSessions({ total, sessions }) {
  drawn.draw(sessions, (each) => each.id);
  say($("shown"), sessions.length < total ? `first ${count(sessions.length)} of ${count(total)}` : count(total));
  $("none").hidden = sessions.length > 0;
  say($("none"), query.filter || query.listener ? "No session fits." : "Nobody is connected.");
}

export function drawChoices(status) {
  const names = [...status.listeners, ...status.connectors].map((each) => each.name);
  const choice = $("of");
  if (query.listener && !names.includes(query.listener)) {
    tell(`${query.listener} is gone; these are the sessions of all.`);
    query.listener = "";
    choice.value = "";
    ask();
  }
  const there = [...choice.options].slice(1).map((each) => each.value);
  if (there.join("\n") === names.join("\n")) return;
  while (choice.options.length > 1) choice.remove(1);
  choice.append(...names.map((name) => el("option", { value: name }, name)));
  choice.value = query.listener;
}

function sortBy(key) {
  const numeric = COLUMNS.find((each) => each.key === key)?.number;
  if (query.sort === key) query.sort = `-${key}`;
  else if (query.sort === `-${key}`) query.sort = key;
  else query.sort = numeric ? `-${key}` : key;
  drawHeads();
  ask();
}

function drawHeads() {
  const bare = query.sort.replace(/^-/, "");
  for (const head of $("heads").children) {
    if (!head.dataset.key) continue;
    const mine = head.dataset.key === bare;
    head.setAttribute("aria-sort", mine ? (query.sort[0] === "-" ? "descending" : "ascending") : "none");
  }
  $("sort").value = query.sort;
}

for (const column of COLUMNS) {
  const head = el("th", { scope: "col", class: `${column.number ? "n " : ""}${column.class || ""}` });
  $("heads").append(head);
  if (!column.key) {
    // The kernel is asked for it for those who are shown only, so nobody is sorted by it.
    head.append(column.title);
    continue;
  }
  const button = el("button", { type: "button", class: "plain" }, column.title);
  button.addEventListener("click", () => sortBy(column.key));
  head.dataset.key = column.key;
  head.append(button);
}
$("sort").append(
  el("option", { value: "-rate" }, "Busiest first"),
  ...COLUMNS.filter((column) => column.key).flatMap(({ key, title, number: numeric }) =>
    numeric
      ? [el("option", { value: `-${key}` }, `${title}, most first`), el("option", { value: key }, `${title}, least first`)]
      : [el("option", { value: key }, title), el("option", { value: `-${key}` }, `${title}, reversed`)]));
$("sort").addEventListener("change", (event) => {
  query.sort = event.target.value;
  drawHeads();
  ask();
});
$("of").addEventListener("change", (event) => {
  query.listener = event.target.value;
  ask();
});
$("limit").addEventListener("change", (event) => {
  query.limit = event.target.value;
  ask();
});
let typing = 0;
$("filter").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    query.filter = event.target.value.trim();
    ask();
  }, 200);
});
$("query").addEventListener("submit", (event) => event.preventDefault());

drawHeads();
