// The status page: one stream of snapshots, drawn as they come.

import { act, sure, tell } from "./ask.js";
import { $, Rows, Spark, clock, count, duration, el, peer, rate, say, size, style, visible } from "./draw.js";
import { detailEvent, detailRestart, detailSnapshot, openDetail } from "./detail.js";
import { isNew, note } from "./events.js";
import { follow, post, showToken } from "./talk.js";

const KEPT = 60;
// Milliseconds: a snapshot is due every second, and is never far behind.
const STALE = 5000;
const LOST = 25000;
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
const past = { in: [], out: [], open: [], lag: [] };
const history = new Map();
if (matchMedia("(max-width: 760px)").matches) $("limit").value = query.limit = "50";
let latest = null;
let before = null;
let stop = () => {};

// -- the stream ---------------------------------------------------------------------------------

function connect() {
  stop();
  const asked = new URLSearchParams(query);
  for (const [key, value] of Object.entries(query)) if (!value) asked.delete(key);
  stop = follow(`api/stream?${asked}`, { heed, changed, stale: STALE, lost: LOST });
}

function heed(event, data) {
  if (event === "snapshot") draw(data);
  else if (event === "history") remember(data);
  else if (event === "event" && isNew(data)) {
    detailEvent(data);
    note(data);
  }
  else if (event === "lost") note({ time: "", "event.name": "lost", count: data.lost });
}

function changed(state, why) {
  const link = $("link");
  link.hidden = state === "live";
  $("show-token").hidden = state !== "refused" || why.status !== 503;
  document.body.classList.toggle("stale", state !== "live");
  if (state === "silent") {
    say(link, `no answer for ${why.seconds} s${why.again ? "; trying again" : ""}`);
    style($("state"), "pill bad");
    say($("state"), "no answer");
  } else if (state === "lost") {
    say(link, "connection lost; trying again");
    style($("state"), "pill bad");
    say($("state"), "unreachable");
  } else if (state === "refused") {
    say(link, `${[why.message, why.hint].filter(Boolean).join("; ")}. Trying again`);
    style($("state"), "pill bad");
    say($("state"), "refused");
  } else if (state === "over") {
    say(link, why ? why.message : "");
    tell(why ? `${why.message}. ${why.hint}` : "", "bad");
  }
}

function remember({ rates }) {
  // A stream that was opened anew, for another sort perhaps, tells again what is known.
  for (const [name, { in: received, out: sent }] of Object.entries(rates)) {
    const known = history.get(name);
    if (known === undefined || known.in.length < received.length) history.set(name, { in: [...received], out: [...sent] });
  }
  if (past.in.length > 1) return;
  const lengths = Object.values(rates).map((each) => each.in.length);
  const longest = Math.max(0, ...lengths);
  for (let at = longest; at > 0; at -= 1) {
    const sum = (key) => Object.values(rates).reduce((all, each) => all + (each[key].at(-at) || 0), 0);
    past.in.push(sum("in"));
    past.out.push(sum("out"));
  }
}

function push(list, value) {
  list.push(value);
  if (list.length > KEPT) list.shift();
}

// -- drawing ------------------------------------------------------------------------------------

function draw({ status, sessions }) {
  if (latest !== null && latest.started !== status.started) {
    tell("tcpd was restarted; this is the new process.", "");
    detailRestart();
    for (const list of Object.values(past)) list.length = 0;
    history.clear();
    before = null;
  }
  latest = status;
  drawHead(status);
  let received = 0;
  let sent = 0;
  for (const each of [...status.listeners, ...status.connectors]) {
    const kept = history.get(each.name) || { in: [], out: [] };
    history.set(each.name, kept);
    if (each.rate.in === null) continue;
    push(kept.in, each.rate.in);
    push(kept.out, each.rate.out);
    received += each.rate.in;
    sent += each.rate.out;
  }
  push(past.in, received);
  push(past.out, sent);
  push(past.open, status.sessions.open);
  push(past.lag, status.loop.lag);
  drawTiles(status, received, sent);
  listeners.draw(status.listeners, (each) => each.name);
  $("connectors-section").hidden = !status.connectors.length;
  connectors.draw(status.connectors, (each) => each.name);
  $("sinks-section").hidden = !status.sinks.length;
  sinks.draw(status.sinks, (each) => each.name);
  drawChoices(status);
  drawSessions(sessions);
  detailSnapshot();
}

const STATES = { running: "good", up: "good", connected: "good", writing: "good", waiting: "good" };
const BAD = new Set(["down", "gave-up", "failing", "stuck"]);
const pill = (state) => `pill ${STATES[state] || (BAD.has(state) ? "bad" : "warn")}`;

function drawHead(status) {
  style($("state"), pill(status.state));
  say($("state"), status.state);
  document.title = `${count(status.sessions.open)} sessions · tcpd`;
  const cpu = before && status.uptime > before.uptime ? (status.process.cpu - before.cpu) / (status.uptime - before.uptime) : null;
  before = { uptime: status.uptime, cpu: status.process.cpu };
  const last = status.last_reload;
  const facts = [
    ["Version", status.version],
    ["Process", String(status.pid)],
    ["Up", duration(status.uptime)],
    ["CPU", cpu === null ? "–" : `${Math.round(cpu * 100)} %`],
    ["Memory", size(status.process.rss)],
    ["Files", `${count(status.process.fds)} / ${count(status.process.max_fds)}`],
  ];
  if (last) facts.push(["Reload", `${last.ok ? "ok" : "refused"}, ${clock(last.at)}`]);
  const list = $("facts");
  while (list.children.length > facts.length) list.lastElementChild.remove();
  facts.forEach(([name, value], index) => {
    const pair = list.children[index] || list.appendChild(el("div", {}, el("dt"), el("dd")));
    say(pair.firstElementChild, name);
    say(pair.lastElementChild, value);
    style(pair, name === "Reload" && !last.ok ? "bad" : "");
    if (name === "Reload") pair.title = visible((last.changes || last.errors || []).join("\n"));
  });
}

function tile(name, kinds) {
  const value = el("strong");
  const detail = el("span", { class: "quiet" });
  const spark = new Spark(kinds, { width: 240, height: 44 });
  $("tiles").append(el("div", { class: "tile" }, el("h3", {}, name), value, detail, spark.node));
  return { value, detail, spark };
}

const tiles = {
  sessions: tile("Sessions", ["plain"]),
  received: tile("Received", ["in"]),
  sent: tile("Sent", ["out"]),
  lag: tile("Loop lag", ["lag"]),
};

function drawTiles(status, received, sent) {
  // As the rates, and the sessions: of all connections, those that connectors have made too.
  const places = [...status.listeners, ...status.connectors];
  const bytes = (key) => size(places.reduce((all, each) => all + each.bytes[key], 0));
  const whose = `since the start${status.connectors.length ? ", with connectors" : ""}`;
  say(tiles.sessions.value, count(status.sessions.open));
  say(tiles.sessions.detail, `${count(status.sessions.total)} since the start`);
  say(tiles.received.value, rate(received));
  say(tiles.received.detail, `${bytes("in")} ${whose}`);
  say(tiles.sent.value, rate(sent));
  say(tiles.sent.detail, `${bytes("out")} ${whose}`);
  say(tiles.lag.value, duration(status.loop.lag));
  say(tiles.lag.detail, `${duration(status.loop.lag_max)} at most in a minute`);
  tiles.sessions.spark.draw(past.open);
  tiles.received.spark.draw(past.in);
  tiles.sent.spark.draw(past.out);
  tiles.lag.spark.draw(past.lag);
}

const sum = (reasons) => Object.values(reasons).reduce((all, each) => all + each, 0);
const reasons = (table) => Object.entries(table).map(([reason, times]) => `${reason}: ${count(times)}`).join("\n");

function through() {
  const spark = new Spark(["in", "out"]);
  const received = el("span", { class: "in" });
  const sent = el("span", { class: "out" });
  const node = el("td", { class: "through" }, el("div", {}, spark.node, el("div", { class: "rates" }, received, sent)));
  return {
    node,
    update(thing) {
      const kept = history.get(thing.name) || { in: [], out: [] };
      spark.draw(kept.in, kept.out);
      say(received, rate(thing.rate.in));
      say(sent, rate(thing.rate.out));
    },
  };
}

const listeners = new Rows($("listeners").tBodies[0], (thing) => {
  const where = el("span", { class: "where" });
  const handler = el("span", { class: "quiet" });
  const state = el("span");
  const open = el("b");
  const limit = el("span", { class: "quiet" });
  const meter = el("i");
  const flow = through();
  const [total, refused, failures] = [el("td", { class: "n", "data-title": "Total" }), el("td", { class: "n", "data-title": "Refused" }), el("td", { class: "n", "data-title": "Failures" })];
  const toggle = el("button", { type: "button", class: "small" });
  const drain = el("button", { type: "button", class: "small" }, "Drain");
  let current = thing;
  toggle.addEventListener("click", () => {
    const what = current.state === "suspended" ? "resume" : "suspend";
    act(() => post(`api/listeners/${encodeURIComponent(current.name)}/${what}`));
  });
  drain.addEventListener("click", async () => {
    const words = `Accept nobody on ${current.name} any more, and have its ${count(current.sessions.open)} sessions finish?`;
    if (await sure(words, "Drain")) act(() => post(`api/listeners/${encodeURIComponent(current.name)}/drain`));
  });
  const node = el("tr", {},
    el("th", { scope: "row" }, el("span", {}, el("span", { class: "name" }, thing.name), handler), where),
    el("td", {}, state),
    el("td", { class: "n open", "data-title": "Sessions" }, open, limit, el("div", { class: "meter" }, meter)),
    flow.node, total, refused, failures,
    el("td", { class: "do" }, toggle, drain));
  return {
    node,
    update(now) {
      current = now;
      say(handler, `${now.handler}${now.tls ? " · TLS" : ""}${now.capture ? " · captured" : ""}`);
      say(where, now.addresses.map(visible).join("  "));
      style(state, pill(now.state));
      say(state, now.state);
      say(open, count(now.sessions.open));
      say(limit, now.sessions.limit === null ? "" : ` / ${count(now.sessions.limit)}`);
      const full = now.sessions.limit ? now.sessions.open / now.sessions.limit : 0;
      meter.style.width = `${Math.min(100, full * 100)}%`;
      style(meter, full > 0.9 ? "bad" : "");
      flow.update(now);
      say(total, count(now.sessions.total));
      say(refused, count(sum(now.refused)));
      refused.title = reasons(now.refused);
      style(refused, `n ${sum(now.refused) ? "warn" : "zero"}`);
      total.title = reasons(now.closed);
      say(failures, count(now.handler_failures));
      style(failures, `n ${now.handler_failures ? "bad" : "zero"}`);
      say(toggle, now.state === "suspended" ? "Resume" : "Suspend");
      toggle.disabled = now.state === "draining" || now.state === "down";
      drain.disabled = toggle.disabled;
    },
  };
});

const connectors = new Rows($("connectors").tBodies[0], (thing) => {
  const where = el("span", { class: "where" });
  const handler = el("span", { class: "quiet" });
  const state = el("span");
  const flow = through();
  const failures = el("td", { class: "n", "data-title": "Failures" });
  const show = el("button", { type: "button", class: "small" }, "Session");
  let session = null;
  show.addEventListener("click", () => session && openDetail(session));
  const node = el("tr", {},
    el("th", { scope: "row" }, el("span", {}, el("span", { class: "name" }, thing.name), handler), where),
    el("td", {}, state), failures, flow.node, el("td", { class: "do" }, show));
  return {
    node,
    update(now) {
      session = now.session;
      show.disabled = session === null;
      say(handler, now.handler);
      say(where, visible(now.target));
      style(state, pill(now.state));
      say(state, now.state);
      say(failures, count(now.failures));
      style(failures, `n ${now.failures ? "warn" : "zero"}`);
      failures.title = `${count(now.sessions.total)} connections since the start`;
      flow.update(now);
    },
  };
});

const sinks = new Rows($("sinks").tBodies[0], (thing) => {
  const state = el("span");
  const kind = el("span", { class: "quiet" });
  const cells = ["Waiting", "Written", "Lost"].map((title) => el("td", { class: "n", "data-title": title }));
  const error = el("span", { class: "error" });
  const node = el("tr", {}, el("th", { scope: "row" }, el("span", { class: "name" }, thing.name), kind, error), el("td", {}, state), ...cells);
  return {
    node,
    update(now) {
      say(kind, now.kind);
      style(state, pill(now.state));
      say(state, now.state);
      [now.queued, now.written, now.lost].forEach((value, index) => say(cells[index], count(value)));
      style(cells[2], `n ${now.lost ? "bad" : "zero"}`);
      say(error, trouble(now));
    },
  };
});

function trouble(sink) {
  if (sink.last_error || !sink.past_error) return visible(sink.last_error);
  return `failed last at ${new Date(sink.failed_at * 1000).toLocaleString()}: ${visible(sink.past_error)}`;
}

// -- sessions -----------------------------------------------------------------------------------

const sessionRows = new Rows($("sessions").tBodies[0], (thing) => {
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

function drawSessions({ total, sessions }) {
  sessionRows.draw(sessions, (each) => each.id);
  say($("shown"), sessions.length < total ? `first ${count(sessions.length)} of ${count(total)}` : count(total));
  $("none").hidden = sessions.length > 0;
  say($("none"), query.filter || query.listener ? "No session fits." : "Nobody is connected.");
}

function drawChoices(status) {
  const names = [...status.listeners, ...status.connectors].map((each) => each.name);
  const choice = $("of");
  if (query.listener && !names.includes(query.listener)) {
    tell(`${query.listener} is gone; these are the sessions of all.`);
    query.listener = "";
    choice.value = "";
    connect();
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
  connect();
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
  connect();
});
$("of").addEventListener("change", (event) => {
  query.listener = event.target.value;
  connect();
});
$("limit").addEventListener("change", (event) => {
  query.limit = event.target.value;
  connect();
});
let typing = 0;
$("filter").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    query.filter = event.target.value.trim();
    connect();
  }, 200);
});
$("query").addEventListener("submit", (event) => event.preventDefault());

// -- the whole -----------------------------------------------------------------------------------

$("show-token").addEventListener("click", async () => {
  if (await showToken("For who has the token, streams are kept that nobody else can take.")) connect();
});

$("reload").addEventListener("click", async () => {
  const answer = await act(() => post("api/reload"));
  if (answer) tell(answer.changes.length ? `Reloaded: ${answer.changes.join("; ")}` : "Reloaded; nothing has changed.");
});

drawHeads();
connect();
