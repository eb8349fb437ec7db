// The panel of one session: who it is, what the kernel says of it, its bytes as they pass.

import { act, sure } from "./ask.js";
import { $, clock, count, duration, el, peer, rate, say, size, style, visible } from "./draw.js";
import { follow, get, post } from "./talk.js";

const MOST_ROWS = 400;
const MOST_OF_ONE = 2048;

const MOST_ENDED = 1000;

let shown = null;
let busy = false;
// What is shown of the session, and the end of those that have ended: the events tell of it.
let last = null;
let over = false;
const ended = new Map();
let before = null;
let untap = null;

let moved = { in: 0, out: 0 };
let lost = 0;

const path = (what = "") => `api/sessions/${encodeURIComponent(shown)}${what}`;

export function openDetail(id) {
  if (shown !== id) stopTap();
  if (shown === null) before = document.activeElement;
  shown = id;
  last = null;
  over = false;
  $("detail").hidden = false;
  document.body.classList.add("with-detail");
  say($("detail-title"), `Session ${id}`);
  say($("detail-sub"), "");
  $("detail-body").replaceChildren();
  style($("detail-sub"), "quiet");
  enable(true);
  if (ended.has(id)) end();
  else look();
  $("detail-close").focus();
}

function closeDetail() {
  stopTap();
  shown = null;
  $("detail").hidden = true;
  document.body.classList.remove("with-detail");
  if (before?.isConnected) before.focus();
  before = null;
}

// Called with each snapshot: the panel is as fresh as the page, until its session has ended. The
// events come behind their snapshot, so that one who has ended need not be asked for in vain.
export function detailSnapshot() {
  setTimeout(() => shown !== null && !over && look());
}

// Called with each event: it may be the end of the session.
export function detailEvent(event) {
  if (event["event.name"] !== "session.closed") return;
  const id = event["session.id"];
  ended.set(id, event);
  if (ended.size > MOST_ENDED) ended.delete(ended.keys().next().value);
  if (id === shown) end();
}

// Called when the daemon is another: none of its sessions is of before.
export function detailRestart() {
  if (shown !== null && !over) end("with the daemon, which was restarted");
}

function end(how = "") {
  over = true;
  enable(false);
  style($("detail-sub"), "over");
  const event = ended.get(shown);
  if (event === undefined) {
    say($("detail-sub"), `It has ended${how ? ` ${how}` : "; this page has not seen when, or why"}.`);
    return;
  }
  const at = Date.parse(event.time) / 1000;
  say($("detail-sub"), visible(`It has ended at ${clock(at)}: ${event["close.reason"]}, after ${duration(event.duration)}.`));
  const bytes = { in: event["bytes.in"], out: event["bytes.out"] };
  // What was seen last stays; of what was never seen, what the event says.
  const view = last ?? {
    client: { address: event["client.address"], port: event["client.port"] },
    local: event["network.local.address"],
    hop: event["network.peer.address"],
    role: event.connector ? "connector" : "listener",
    listener: event.connector || event.listener,
    handler: event.handler,
    opened: at - event.duration,
  };
  draw({ ...view, age: event.duration, bytes, rate: { in: 0, out: 0 }, queued: null, idle: null });
}

async function look() {
  if (busy) return;
  busy = true;
  const id = shown;
  try {
    const view = await get(path());
    if (id === shown && !over) {
      last = view;
      say($("detail-sub"), `${visible(peer(view.client))} on ${view.listener}`);
      enable(true);
      draw(view);
    }
  } catch (error) {
    if (id === shown && !over && error.status === 404) end();
  } finally {
    busy = false;
    if (id !== shown && shown !== null && !over) look(); // another was opened meanwhile
  }
}

function enable(on) {
  for (const each of ["do-close", "do-reset"]) $(each).disabled = !on;
  $("do-tap").disabled = !on && untap === null;
}

const GROUPS = [
  ["Who", (s) => [
    ["Client", peer(s.client)], ["Proxy", s.hop], ["Local", s.local],
    [s.role === "connector" ? "Connector" : "Listener", s.listener], ["Handler", s.handler],
    ["Since", `${new Date(s.opened * 1000).toLocaleString()} (${duration(s.age)})`],
  ]],
  ["Bytes", (s) => [
    ["In", `${count(s.bytes.in)} (${rate(s.rate.in)})`], ["Out", `${count(s.bytes.out)} (${rate(s.rate.out)})`],
    ["In our buffer", s.queued === null ? null : size(s.queued)], ["Idle", s.idle === null ? null : duration(s.idle)],
    ["Reads from it", s.queued === null ? null : s.reading ? "yes" : "held back"],
    ["Capture", s.capture && (s.capture.path || "on")],
  ]],
  ["TCP, as the kernel sees it", (s) => s.tcp && [
    ["State", s.tcp.state],
    ["Round trip", `${duration(s.tcp.rtt)} ± ${duration(s.tcp.rttvar)}`], ["Shortest", s.tcp.min_rtt === null ? null : duration(s.tcp.min_rtt)],
    ["Retransmitted", `${count(s.tcp.total_retransmits)} segments`], ["Lost", `${count(s.tcp.lost)} segments`],
    ["Not acknowledged", `${count(s.tcp.unacked)} segments`], ["Not sent", s.tcp.not_sent === null ? null : size(s.tcp.not_sent)],
    ["Congestion window", `${count(s.tcp.cwnd)} × ${count(s.tcp.mss)} B`],
    ["Delivery rate", s.tcp.delivery_rate === null ? null : rate(s.tcp.delivery_rate)],
  ]],
  ["TLS", (s) => s.tls && typeof s.tls === "object" && facts(s.tls)],
  ["PROXY header", (s) => s.proxy && facts(s.proxy)],
];

const facts = (table) => Object.entries(table).map(([key, value]) => [
  key.replaceAll("_", " "),
  value !== null && typeof value === "object" ? JSON.stringify(value) : value,
]);

function draw(view) {
  const body = $("detail-body");
  const groups = GROUPS.map(([title, of]) => [title, of(view)]).filter(([, pairs]) => pairs);
  const form = groups.map(([title, pairs]) => title + pairs.length).join();
  if (body.dataset.form !== form || !body.children.length) {
    body.dataset.form = form;
    body.replaceChildren(...groups.map(([title, pairs]) =>
      el("section", {}, el("h3", {}, title), el("dl", {}, ...pairs.flatMap(() => [el("dt"), el("dd")])))));
  }
  groups.forEach(([, pairs], at) => {
    const list = body.children[at].lastElementChild;
    pairs.forEach(([name, value], row) => {
      const missing = value === null || value === undefined || value === "" || value === false;
      const [term, text] = [list.children[2 * row], list.children[2 * row + 1]];
      say(term, name);
      say(text, visible(missing ? "" : value));
      term.hidden = missing;
      text.hidden = missing;
    });
  });
}

// -- acting -------------------------------------------------------------------------------------

$("detail-close").addEventListener("click", closeDetail);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && shown !== null && !document.querySelector("dialog[open]")) closeDetail();
});
$("do-close").addEventListener("click", () => act(() => post(path("/close"), { reset: false }), "The session is closed when what it is owed has been sent."));
$("do-reset").addEventListener("click", async () => {
  const id = shown;
  if (await sure(`Cut session ${id} off at once, with a reset? What is in its buffer is lost.`, "Reset")) {
    if (id === shown) act(() => post(path("/close"), { reset: true }), "The session is cut.");
  }
});

// -- bytes --------------------------------------------------------------------------------------

$("do-tap").addEventListener("click", () => (untap ? stopTap() : startTap()));
for (const kind of ["hex", "text"]) {
  $(`as-${kind}`).addEventListener("click", () => {
    for (const each of ["hex", "text"]) $(`as-${each}`).setAttribute("aria-pressed", String(each === kind));
    $("bytes").classList.toggle("as-text", kind === "text");
  });
}

function startTap() {
  moved = { in: 0, out: 0 };
  lost = 0;
  $("bytes").replaceChildren();
  $("tap").hidden = false;
  say($("tap-state"), "Nothing has passed yet.");
  mark(true);
  untap = follow(path("/tap"), { heed, changed, once: true });
}

function stopTap() {
  if (untap) untap();
  untap = null;
  mark(false);
  $("tap").hidden = true;
}

function mark(on) {
  $("do-tap").setAttribute("aria-pressed", String(on));
  say($("do-tap"), on ? "Stop watching" : "Watch bytes");
}

function changed(state, error) {
  if (state !== "over") return;
  untap = null;
  mark(false);
  if (error) say($("tap-state"), visible([error.message, error.hint].filter(Boolean).join(". ")));
}

function heed(event, piece) {
  if (event === "end") {
    tally(`The session is over: ${piece.reason}.`);
    return;
  }
  if (piece.lost) {
    lost += piece.lost;
    add(el("p", { class: "gap" }, `${count(piece.lost)} bytes went by too fast to show`));
  }
  if (piece.data) {
    const bytes = Uint8Array.from(atob(piece.data), (each) => each.charCodeAt(0));
    add(block(piece, bytes));
    moved[piece.direction] += bytes.length;
  }
  tally();
}

function tally(more = "") {
  const missing = lost ? `, ${count(lost)} not shown` : "";
  say($("tap-state"), visible(`${size(moved.in)} in, ${size(moved.out)} out since you watch${missing}. ${more}`));
}

function add(node) {
  const box = $("bytes");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.append(node);
  while (box.children.length > MOST_ROWS) box.firstElementChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function block({ direction, time }, bytes) {
  const part = bytes.subarray(0, MOST_OF_ONE);
  const more = bytes.length - part.length;
  const ms = String(Math.floor((time % 1) * 1000)).padStart(3, "0");
  return el("div", { class: `piece ${direction}` },
    el("p", { class: "head" }, `${direction === "in" ? "◀ in" : "▶ out"}  ${clock(time)}.${ms}  ${count(bytes.length)} bytes`),
    el("pre", { class: "hex" }, hex(part)),
    el("pre", { class: "text" }, text(part)),
    more ? el("p", { class: "gap" }, `and ${count(more)} bytes more`) : null);
}

const printable = (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·");

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const halves = [digits.slice(0, 8).join(" "), digits.slice(8).join(" ")].join("  ");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${halves.padEnd(48)}  ${row.map(printable).join("")}`);
  }
  return lines.join("\n");
}

function text(bytes) {
  const lines = new TextDecoder().decode(bytes).split("\n");
  return lines.map((line, at) => visible(line) + (at < lines.length - 1 ? "\\n" : "")).join("\n");
}

