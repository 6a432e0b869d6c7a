// Lines over the last minutes, in SVG: axes with round ticks, a value under the pointer. No library.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 52, right: 10, top: 8, bottom: 22 };
const SPAN_MIN_MS = 60_000;
// A line over a longer silence than this would draw what nobody measured.
const GAP_MS = 5_000;

export function compact(number) {
  if (number === null || number === undefined) return "–";
  const units = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e4, " k"]];
  for (const [size, unit] of units) {
    if (Math.abs(number) >= size) {
      const value = number / (size === 1e4 ? 1e3 : size);
      return value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 }) + unit;
    }
  }
  return number.toLocaleString("en", { maximumFractionDigits: Math.abs(number) < 10 ? 1 : 0 });
}

function svg(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function roundStep(range, count) {
  const rough = range / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function clock(ms, seconds) {
  return new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });
}

export class Chart {
  // series: [{ name, column, style }], the first and only filled one first.
  constructor(place, series) {
    this.place = place;
    this.series = series;
    this.data = { t: [] };
    this.svg = svg("svg", { role: "img" });
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.empty = document.createElement("div");
    this.empty.className = "empty";
    this.empty.textContent = "collecting …";
    place.append(this.svg, this.tip, this.empty);
    place.addEventListener("pointermove", (event) => { this.pointer = event.clientX - place.getBoundingClientRect().left; this.point(); });
    place.addEventListener("pointerleave", () => { this.pointer = null; this.point(); });
    new ResizeObserver(() => this.draw()).observe(place);
  }

  update(data) {
    this.data = data;
    this.draw();
  }

  draw() {
    const { t } = this.data;
    this.empty.hidden = t.length > 1;
    if (t.length < 2) return;
    const width = this.place.clientWidth, height = this.place.clientHeight;
    const last = t[t.length - 1], first = Math.min(t[0], last - SPAN_MIN_MS);
    const highest = Math.max(1, ...this.series.flatMap(({ column }) => this.data[column]));
    const step = roundStep(highest, 4);
    const top = Math.ceil(highest / step) * step;
    this.x = (ms) => MARGIN.left + ((ms - first) / (last - first)) * (width - MARGIN.left - MARGIN.right);
    this.y = (value) => height - MARGIN.bottom - (value / top) * (height - MARGIN.top - MARGIN.bottom);

    const parts = [];
    for (let value = 0; value <= top + step / 2; value += step) {
      const y = Math.round(this.y(value)) + 0.5;
      parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
      parts.push(svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, compact(value)));
    }
    const minutes = (last - first) / 60_000;
    const stepMs = (minutes <= 1.5 ? 0.25 : minutes <= 3 ? 0.5 : minutes <= 6 ? 1 : 2) * 60_000 * (width < 420 ? 2 : 1);
    for (let ms = Math.ceil(first / stepMs) * stepMs; ms <= last; ms += stepMs) {
      const x = this.x(ms);
      if (x < MARGIN.left + 14 || x > width - 26) continue;
      parts.push(svg("text", { x, y: height - 5, "text-anchor": "middle" }, clock(ms, stepMs < 60_000)));
    }
    this.series.forEach(({ column, style }, index) => {
      const runs = this.runs(this.data[column]);
      const line = runs.map((run) => "M" + run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")).join("");
      if (index === 0) {
        const ground = this.y(0).toFixed(1);
        const area = runs.map((run) => `M${run[0][0].toFixed(1)} ${ground}L${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}L${run[run.length - 1][0].toFixed(1)} ${ground}Z`).join("");
        parts.push(svg("path", { class: `area ${style}`, d: area }));
      }
      parts.push(svg("path", { class: style, d: line }));
    });
    this.cursor = svg("g", {});
    parts.push(this.cursor);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", this.series.map(({ name, column }) => `${name}: ${compact(this.data[column].at(-1))}`).join(", "));
    this.svg.replaceChildren(...parts);
    this.point();
  }

  runs(values) {
    const runs = [];
    this.data.t.forEach((ms, index) => {
      if (index === 0 || ms - this.data.t[index - 1] > GAP_MS) runs.push([]);
      runs[runs.length - 1].push([this.x(ms), this.y(values[index])]);
    });
    return runs;
  }

  point() {
    this.tip.hidden = true;
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    if (this.pointer === null || this.pointer === undefined) return;
    const { t } = this.data;
    let nearest = 0;
    t.forEach((ms, index) => { if (Math.abs(this.x(ms) - this.pointer) < Math.abs(this.x(t[nearest]) - this.pointer)) nearest = index; });
    const x = this.x(t[nearest]);
    this.cursor.append(svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: this.y(0) }));
    const lines = [Object.assign(document.createElement("b"), { textContent: clock(t[nearest], true) })];
    for (const { name, column, style } of this.series) {
      const value = this.data[column][nearest];
      this.cursor.append(svg("circle", { class: style, cx: x, cy: this.y(value), r: 4 }));
      lines.push(Object.assign(document.createElement("div"), { textContent: `${name}: ${Math.round(value).toLocaleString("en")}` }));
    }
    this.tip.replaceChildren(...lines);
    this.tip.hidden = false;
    const left = x + 12 + this.tip.offsetWidth > this.place.clientWidth ? x - 12 - this.tip.offsetWidth : x + 12;
    this.tip.style.left = `${Math.max(0, left)}px`;
  }
}
