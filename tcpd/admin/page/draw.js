// What the page is made of. Whatever comes from the daemon goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const number = new Intl.NumberFormat("en");

export const $ = (id) => document.getElementById(id);

// Makes an element. `properties` are set as properties, but for `class`, `data-…`, `aria-…`, `role`.
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key === "role" || key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

// Sets a text if it is another; most of them are the same a second later.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function style(node, name) {
  if (node.className !== name) node.className = name;
}

// Control characters, line separators and those that turn the direction of a text, made visible.
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/g;
export function visible(text) {
  return String(text).replace(/[\ud800-\udbff][\udc00-\udfff]|./gsu, (character) =>
    character.length === 2 ? character : character.replace(HIDDEN, (each) => {
      const code = each.charCodeAt(0);
      return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
    }));
}

export const count = (value) => (value === null || value === undefined ? "–" : number.format(value));

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  let unit = 0;
  while (bytes >= 1000 && unit < 5) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

export const rate = (bytes) => (bytes === null || bytes === undefined ? "–" : bytes < 0.5 ? "0" : `${size(bytes)}/s`);

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${seconds < 0.01 ? (seconds * 1000).toFixed(1) : Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${Math.floor(seconds % 60)}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86400)}d ${Math.floor((seconds % 86400) / 3600)}h`;
}

export const peer = (client) =>
  client.port ? (client.address.includes(":") ? `[${client.address}]:${client.port}` : `${client.address}:${client.port}`) : client.address;

export const clock = (seconds) => {
  const at = new Date(seconds * 1000);
  return at.toTimeString().slice(0, 8);
};

// Adds to what is drawn as a line; what is too old to be drawn goes.
const POINTS = 60;
export function push(list, value) {
  list.push(value);
  if (list.length > POINTS) list.shift();
}

// A line, or several over each other, of values that end now.
export class Spark {
  constructor(kinds, { width = 132, height = 28, points = POINTS } = {}) {
    this.width = width;
    this.height = height;
    this.points = points;
    this.node = document.createElementNS(SVG, "svg");
    this.node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.node.setAttribute("preserveAspectRatio", "none");
    this.node.setAttribute("class", "spark");
    this.node.setAttribute("aria-hidden", "true");
    this.paths = kinds.map((kind) => {
      const area = document.createElementNS(SVG, "path");
      area.setAttribute("class", `area ${kind}`);
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("class", `line ${kind}`);
      this.node.append(area, line);
      return { area, line };
    });
  }

  draw(...series) {
    const most = Math.max(1e-9, ...series.flat());
    const step = this.width / (this.points - 1);
    this.paths.forEach(({ area, line }, index) => {
      const values = series[index].slice(-this.points);
      if (values.length < 2) {
        line.setAttribute("d", "");
        area.setAttribute("d", "");
        return;
      }
      const from = this.width - (values.length - 1) * step;
      const at = values.map((value, place) => {
        const y = this.height - 1.5 - (value / most) * (this.height - 4);
        return `${(from + place * step).toFixed(1)} ${y.toFixed(1)}`;
      });
      line.setAttribute("d", `M${at.join("L")}`);
      area.setAttribute("d", `M${at.join("L")}L${this.width} ${this.height}L${from.toFixed(1)} ${this.height}Z`);
    });
  }
}

// The rows of a table body, one for each thing, kept from one drawing to the next.
export class Rows {
  constructor(body, make) {
    this.body = body;
    this.make = make;
    this.rows = new Map();
  }

  draw(things, keyOf) {
    const left = new Map(this.rows);
    let place = this.body.firstElementChild;
    for (const thing of things) {
      const key = keyOf(thing);
      let row = left.get(key);
      if (row === undefined) {
        row = this.make(thing);
        this.rows.set(key, row);
      }
      left.delete(key);
      row.update(thing);
      if (row.node === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.node, place);
    }
    for (const [key, row] of left) {
      row.node.remove();
      this.rows.delete(key);
    }
  }
}
