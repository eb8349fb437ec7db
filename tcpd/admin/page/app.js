// The status page: one stream of snapshots, drawn as they come.

import { act, tell } from "./ask.js";
import { $, Spark, clock, count, duration, el, push, rate, say, size, style, visible } from "./draw.js";
import { detailEvent, detailRestart, detailSnapshot } from "./detail.js";
import { isNew, note } from "./events.js";
import { drawPlaces, forgetPlaces, pill, rememberPlaces } from "./places.js";
import { askAnewWith, drawChoices, drawSessions, wanted } from "./sessions.js";
import { follow, post, showToken } from "./talk.js";

// Milliseconds: a snapshot is due every second, and is never far behind.
const STALE = 5000;
const LOST = 25000;
const past = { in: [], out: [], open: [], lag: [] };
let latest = null;
let before = null;
let stop = () => {};

// -- the stream ---------------------------------------------------------------------------------

function connect() {
  stop();
  stop = follow(`api/stream?${wanted()}`, { heed, changed, stale: STALE, lost: LOST });
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
  rememberPlaces(rates);
  if (past.in.length > 1) return;
  const lengths = Object.values(rates).map((each) => each.in.length);
  const longest = Math.max(0, ...lengths);
  for (let at = longest; at > 0; at -= 1) {
    const sum = (key) => Object.values(rates).reduce((all, each) => all + (each[key].at(-at) || 0), 0);
    past.in.push(sum("in"));
    past.out.push(sum("out"));
  }
}

// -- drawing ------------------------------------------------------------------------------------

function draw({ status, sessions }) {
  if (latest !== null && latest.started !== status.started) {
    tell("tcpd was restarted; this is the new process.", "");
    detailRestart();
    for (const list of Object.values(past)) list.length = 0;
    forgetPlaces();
    before = null;
  }
  latest = status;
  drawHead(status);
  const places = [...status.listeners, ...status.connectors];
  const sum = (key) => places.reduce((all, each) => all + (each.rate[key] || 0), 0);
  const [received, sent] = [sum("in"), sum("out")];
  push(past.in, received);
  push(past.out, sent);
  push(past.open, status.sessions.open);
  push(past.lag, status.loop.lag);
  drawTiles(status, received, sent);
  drawPlaces(status);
  drawChoices(status);
  drawSessions(sessions);
  detailSnapshot();
}

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

// -- the whole -----------------------------------------------------------------------------------

$("show-token").addEventListener("click", async () => {
  if (await showToken("For who has the token, streams are kept that nobody else can take.")) connect();
});

$("reload").addEventListener("click", async () => {
  const answer = await act(() => post("api/reload"));
  if (answer) tell(answer.changes.length ? `Reloaded: ${answer.changes.join("; ")}` : "Reloaded; nothing has changed.");
});

askAnewWith(connect);
connect();
