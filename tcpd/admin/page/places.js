// The listeners, connectors and sinks, and what passes through them.

import { act, sure } from "./ask.js";
import { openDetail } from "./detail.js";
import { $, Rows, Spark, count, el, push, rate, say, style, visible } from "./draw.js";
import { post } from "./talk.js";

// The rates of each listener and connector, by its name.
const history = new Map();

const STATES = { running: "good", up: "good", connected: "good", writing: "good", waiting: "good" };
const BAD = new Set(["down", "gave-up", "failing", "stuck"]);
export const pill = (state) => `pill ${STATES[state] || (BAD.has(state) ? "bad" : "warn")}`;

// Takes what the daemon knows of the time before. A stream that was opened anew, for another sort
// perhaps, tells it again.
export function rememberPlaces(rates) {
  for (const [name, { in: received, out: sent }] of Object.entries(rates)) {
    const known = history.get(name);
    if (known === undefined || known.in.length < received.length) history.set(name, { in: [...received], out: [...sent] });
  }
}

export function forgetPlaces() {
  history.clear();
}

export function drawPlaces(status) {
  for (const each of [...status.listeners, ...status.connectors]) {
    const kept = history.get(each.name) || { in: [], out: [] };
    history.set(each.name, kept);
    if (each.rate.in === null) continue;
    push(kept.in, each.rate.in);
    push(kept.out, each.rate.out);
  }
  listeners.draw(status.listeners, (each) => each.name);
  $("connectors-section").hidden = !status.connectors.length;
  connectors.draw(status.connectors, (each) => each.name);
  $("sinks-section").hidden = !status.sinks.length;
  sinks.draw(status.sinks, (each) => each.name);
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
