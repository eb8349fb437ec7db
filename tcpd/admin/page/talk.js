// How the page talks to the daemon: requests, and streams of events that come back by themselves.
//
// EventSource can send no token, so streams are read with fetch, and taken apart here.

const KEY = "tcpd-token";
const RETRY = 1000;
// After an answer that says no: who is full won't have room at once.
const REFUSED = 5000;

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
async function withToken(path, options) {
  for (;;) {
    try {
      return await fetched(path, options);
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
  return (await withToken(path, { method: "GET" })).json();
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
// again.
export function follow(path, { heed, changed, once = false }) {
  const control = new AbortController();
  run(path, heed, changed, once, control.signal);
  return () => control.abort();
}

async function run(path, heed, changed, once, signal) {
  while (!signal.aborted) {
    let [why, refused] = ["", null];
    try {
      const answer = await withToken(path, { signal });
      changed("live");
      await read(answer.body, heed);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status < 500) {
        changed("over", error);
        return;
      }
      why = error.message;
      if (error instanceof ApiError) refused = error;
    }
    if (signal.aborted) return;
    if (once) {
      changed("over", refused);
      return;
    }
    if (refused) changed("refused", refused);
    else changed("lost", why);
    await new Promise((resolve) => setTimeout(resolve, refused ? REFUSED : RETRY));
  }
}

async function read(body, heed) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
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
      if (data.length) heed(event, JSON.parse(data.join("\n")));
    }
  }
}
