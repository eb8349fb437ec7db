// How the page talks to the daemon: requests, and streams of events that come back by themselves.
//
// EventSource can send no token, so streams are read with fetch, and taken apart here.

const KEY = "tcpd-token";
const RETRY = 1000;
// After an answer that says no: who is full won't have room at once.
const REFUSED = 5000;
// Milliseconds without a byte after which a connection is given up, unless a stream has its own: a
// daemon that has nothing to say says so every 15 s.
const LOST = 45000;
const TICK = 1000;

export class ApiError extends Error {
  constructor(status, body) {
    super(body.error || `the daemon answered with ${status}`);
    this.status = status;
    this.hint = body.hint || "";
    this.body = body;
  }
}

// Asks for a token; the page puts its own here. Gives the token, or "" if nobody has one.
let ask = async () => "";

export function askForTokenWith(call) {
  ask = call;
}

function headers(more) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function fetched(path, options) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers || {}), cache: "no-store" });
  if (answer.ok) return answer;
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // no JSON: something else than tcpd has answered
  }
  throw new ApiError(answer.status, body);
}

// Fetches, and asks for the token for as long as it is missing or wrong.
async function withToken(path, options, fetching = fetched) {
  for (;;) {
    try {
      return await fetching(path, options);
    } catch (error) {
      if (error.status !== 401 && error.status !== 429) throw error; // 429: one of many that are wrong
      const had = sessionStorage.getItem(KEY);
      sessionStorage.removeItem(KEY);
      const token = await ask(had ? "The token is not, or no longer, right." : "This needs the token.");
      if (!token) throw error;
      sessionStorage.setItem(KEY, token);
    }
  }
}

export async function get(path) {
  const fetching = (where, options) => fetched(where, { ...options, signal: AbortSignal.timeout(LOST) });
  return (await withToken(path, { method: "GET" }, fetching)).json();
}

export async function post(path, body = {}) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  return (await withToken(path, options)).json();
}

// Asks for the token before it is needed; gives whether somebody has shown one.
export async function showToken(why) {
  const token = await ask(why);
  if (token) sessionStorage.setItem(KEY, token);
  return Boolean(token);
}

// Follows a stream until it is aborted. `heed(event, data)` is called with each event, `changed` with
// "live", "lost" or "refused" (it will be tried again) or "over", and why. With `once` it isn't tried
// again. Where an event is due every so often, `stale` is how many milliseconds may pass without one:
// then `changed` is called with "silent" each second, with the seconds, and whether it is tried again,
// until the next event, which makes it "live". After `lost` milliseconds without a byte the connection
// is given up; it is dead, or the daemon hangs, and no socket says so.
export function follow(path, { heed, changed, once = false, stale = Infinity, lost = LOST }) {
  const watch = new Watch(changed, stale, lost);
  run(path, heed, changed, once, watch);
  return () => watch.leave();
}

// Whether the daemon is heard, over all tries to follow a stream.
class Watch {
  constructor(changed, stale, lost) {
    this.changed = changed;
    this.stale = stale;
    this.lost = lost;
    this.left = false; // nobody follows any more
    this.silent = false; // and that was told
    this.gaveUp = false; // this try; `again` is whether one before it was
    this.again = false;
    this.event = performance.now();
  }

  // Begins a try; gives the signal that ends it.
  begin() {
    this.control = new AbortController();
    this.again ||= this.gaveUp;
    this.gaveUp = false;
    this.byte = performance.now();
    return this.control.signal;
  }

  leave() {
    this.left = true;
    this.control.abort();
  }

  // Waits for what the daemon owes, with an eye on the time.
  async over(promise) {
    this.ticked = performance.now();
    const timer = setInterval(() => this.tick(), TICK);
    try {
      return await promise;
    } finally {
      clearInterval(timer);
    }
  }

  tick() {
    const now = performance.now();
    const slept = now - this.ticked > 3 * TICK;
    this.ticked = now;
    if (slept || this.left) return; // a page that slept has yet to read what has come meanwhile
    if (now - this.byte > this.lost) {
      this.gaveUp = true;
      this.control.abort();
    }
    if (now - this.event > this.stale) {
      this.silent = true;
      this.changed("silent", { seconds: Math.floor((now - this.event) / 1000), again: this.again || this.gaveUp });
    }
  }

  heardBytes() {
    this.byte = performance.now();
  }

  heardEvent() {
    this.event = performance.now();
    if (this.silent) this.changed("live");
    this.silent = this.again = false;
  }
}

async function run(path, heed, changed, once, watch) {
  while (!watch.left) {
    let [why, refused] = ["", null];
    try {
      const signal = watch.begin();
      const answer = await withToken(path, { signal }, (...all) => watch.over(fetched(...all)));
      if (!watch.silent) changed("live");
      await watch.over(read(answer.body, heed, watch));
    } catch (error) {
      if (watch.left) return;
      if (error instanceof ApiError && error.status < 500) {
        changed("over", error);
        return;
      }
      why = error.message;
      if (error instanceof ApiError) refused = error;
    }
    if (watch.left) return;
    if (once) {
      const silence = `The daemon has said nothing for ${watch.lost / 1000} s; it hangs, or the way to it is cut`;
      changed("over", watch.gaveUp ? new Error(silence) : refused);
      return;
    }
    if (refused) changed("refused", refused);
    else if (!watch.silent || !watch.gaveUp) changed("lost", why); // who is silent is told so already
    await new Promise((resolve) => setTimeout(resolve, refused ? REFUSED : RETRY));
  }
}

async function read(body, heed, watch) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    watch.heardBytes();
    rest += value;
    for (;;) {
      const end = rest.indexOf("\n\n");
      if (end < 0) break;
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      let event = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) event = line.slice(7);
        else if (line.startsWith("data: ")) data.push(line.slice(6));
      }
      if (!data.length) continue;
      watch.heardEvent();
      heed(event, JSON.parse(data.join("\n")));
    }
  }
}
