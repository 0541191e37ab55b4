// Two charts: what the robot reaches over time, and the return that was predicted over the tasks.

const [WIDTH, HEIGHT] = [340, 170];
const FRAME = { left: 44, right: 330, top: 8, bottom: 132 };
/** s; time that the chart of what is reached goes back */
export const SHOWN_SECONDS = 8;

function add(parent, name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
}

/** Four to eight round numbers between low and high. */
function ticks(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

const short = (value) => String(Number(value.toPrecision(6)));

class Chart {
  /** Axes from low to high, with what they mean. */
  constructor(parent, title, x, y) {
    const svg = add(parent, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
    const { left, right, top, bottom } = FRAME;
    this.x = (value) => left + ((value - x.low) / (x.high - x.low)) * (right - left);
    this.y = (value) => bottom - ((value - y.low) / (y.high - y.low)) * (bottom - top);
    for (const value of ticks(y.low, y.high)) {
      const at = this.y(value);
      add(svg, "line", { x1: left, x2: right, y1: at, y2: at, class: "grid" });
      add(svg, "text", { x: left - 6, y: at + 4, "text-anchor": "end" }, short(value));
    }
    for (const value of ticks(x.low, x.high)) {
      add(svg, "text", { x: this.x(value), y: bottom + 15, "text-anchor": "middle" }, short(value));
    }
    add(svg, "text", { x: (left + right) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, x.label);
    const clip = `clip-${document.querySelectorAll("clipPath").length}`;
    add(add(svg, "clipPath", { id: clip }), "rect", {
      x: left,
      y: top,
      width: right - left,
      height: bottom - top,
    });
    this.inside = add(svg, "g", { "clip-path": `url(#${clip})` });
  }

  points(xs, ys) {
    return Array.from(xs, (value, i) => `${this.x(value).toFixed(1)},${this.y(ys[i]).toFixed(1)}`).join(" ");
  }
}

/** What was reached, and what was asked for, of one number of the task. */
export class History {
  constructor(parent, name, { low, high }) {
    const margin = 0.25 * (high - low);
    const [x, y] = [
      { low: -SHOWN_SECONDS, high: 0, label: "time (s)" },
      { low: low - margin, high: high + margin },
    ];
    this.chart = new Chart(parent, `${name}: reached and asked for`, x, y);
    this.asked = add(this.chart.inside, "polyline", { class: "asked" });
    this.reached = add(this.chart.inside, "polyline", { class: "reached" });
    this.rows = [];
  }

  add(seconds, reached, asked) {
    this.rows.push({ seconds, reached, asked });
    while (this.rows[0].seconds < seconds - SHOWN_SECONDS) this.rows.shift();
  }

  show() {
    const last = this.rows.at(-1)?.seconds;
    const times = this.rows.map((row) => row.seconds - last);
    for (const name of ["reached", "asked"]) {
      this[name].setAttribute("points", this.chart.points(times, this.rows.map((row) => row[name])));
    }
  }
}

/** The predicted return over tasks of one number, its interval if there is one, and the task that was asked for. */
export class Prediction {
  constructor(parent, name, curve, training) {
    this.curve = curve;
    const low = Math.min(...(curve.low ?? curve.mean));
    const high = Math.max(...(curve.high ?? curve.mean), low + 1e-3);
    const [first, last] = [curve.task[0], curve.task.at(-1)];
    const x = { low: first, high: last, label: name };
    this.chart = new Chart(parent, "predicted return", x, { low, high: high + 0.05 * (high - low) });
    const { inside } = this.chart;
    for (const [from, to] of training ? [[first, training.low[0]], [training.high[0], last]] : []) {
      const width = Math.max(0, this.chart.x(to) - this.chart.x(from));
      add(inside, "rect", { x: this.chart.x(from), y: 0, width, height: HEIGHT, class: "untrained" });
    }
    if (curve.low) {
      const [tasks, values] = [[...curve.task, ...[...curve.task].reverse()], [...curve.low, ...[...curve.high].reverse()]];
      add(inside, "polygon", { points: this.chart.points(tasks, values), class: "interval" });
    }
    add(inside, "polyline", { points: this.chart.points(curve.task, curve.mean), class: "asked solid" });
    this.mark = add(inside, "circle", { r: 5, class: "mark" });
  }

  /** The curve's values for a task, interpolated. */
  at(task) {
    const tasks = this.curve.task;
    const right = tasks.findIndex((each) => each >= task);
    const i = Math.max(1, right < 0 ? tasks.length - 1 : right);
    const share = Math.min(1, Math.max(0, (task - tasks[i - 1]) / (tasks[i] - tasks[i - 1])));
    const between = (values) => values[i - 1] + share * (values[i] - values[i - 1]);
    return Object.fromEntries(Object.entries(this.curve).map(([name, values]) => [name, between(values)]));
  }

  show(task) {
    const at = this.at(task);
    this.mark.setAttribute("cx", this.chart.x(at.task));
    this.mark.setAttribute("cy", this.chart.y(at.mean));
    return at;
  }
}
