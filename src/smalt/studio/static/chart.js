/* global uPlot: of the page */
// <s-chart src="…" label="loss" axis="step|time|relative" scale="|log" smooth="0.6" live data-job="id">: lines over one
// axis, drawn when it is about to be seen, and while `live` again. `optional`: without numbers it is not there.
import { over } from "./session.js";
import { smoothed } from "./smoothing.js";
import { ticks } from "./ticks.js";

const AGAIN_MS = 2000; // what runs log is told to nobody: it is looked at while somebody looks
const PAUSE_MOST_MS = 60000; // where there is no answer
const AHEAD = "100%"; // of a screen, above and below it: what may be seen next
const AT_ONCE = 4; // charts that are read; the others wait for their turn
const HEIGHT = 220;
const COLOURS = ["--accent", "--bad", "--good", "--wait"];
const ENDED = ["Completed", "Failed", "Canceled"];

// One point has no width: half a minute to each side of it in time, else one step.
const padded = (least, most, timed) => (least == null || least < most ? [least, most] : [least - (timed ? 30 : 1), most + (timed ? 30 : 1)]);
const said = (value) => (value == null ? "no number" : Number(value.toPrecision(6)));

let busy = 0;
const turns = [];
async function inTurn(read) {
  if (busy < AT_ONCE) busy += 1;
  else await new Promise((go) => turns.push(go));
  try {
    await read();
  } finally {
    const next = turns.shift();
    if (next) next();
    else busy -= 1;
  }
}

customElements.define("s-chart", class extends HTMLElement {
  connectedCallback() {
    const title = document.createElement("h3");
    title.textContent = this.getAttribute("label");
    this.said = document.createElement("p");
    this.said.className = "quiet";
    this.place = document.createElement("div");
    this.append(title, this.place, this.said);
    this.sized = new ResizeObserver(() => this.plot?.setSize({ width: this.clientWidth, height: HEIGHT }));
    this.sized.observe(this);
    this.seen = new IntersectionObserver((changes) => {
      const [before, now] = [this.inView, changes.at(-1).isIntersecting];
      this.inView = now;
      if (now && !before) this.look();
    }, { rootMargin: AHEAD });
    this.seen.observe(this);
    this.pause = this.usual = 1000 * this.getAttribute("again") || AGAIN_MS;
    this.heard = ({ detail }) => {
      if (detail.id === this.dataset.job && ENDED.includes(detail.to)) {
        this.removeAttribute("live");
        this.late = document.hidden;
        this.look();
      }
    };
    document.addEventListener("smalt:change", this.heard);
    document.addEventListener("visibilitychange", this.shown = () => {
      if (!this.plot || this.late || this.hasAttribute("live")) this.look();
      this.late = false;
    });
    if (this.hasAttribute("optional")) this.look();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    this.sized.disconnect();
    this.seen.disconnect();
    document.removeEventListener("smalt:change", this.heard);
    document.removeEventListener("visibilitychange", this.shown);
    this.plot?.destroy();
  }

  /** Whether somebody looks, or (of what may not be there at all) nobody can yet. */
  wanted() {
    return this.isConnected && !document.hidden && !over() && (this.inView || (this.hasAttribute("optional") && !this.plot));
  }

  async look() {
    clearTimeout(this.timer);
    this.missed = true; // also by who asks while it is being read
    if (this.looks) return;
    this.looks = true;
    while (this.missed) {
      this.missed = false;
      if (this.wanted()) await inTurn(() => this.read());
    }
    this.looks = false;
    if (this.hasAttribute("live") && this.isConnected) this.timer = setTimeout(() => this.look(), this.pause);
  }

  async read() {
    if (!this.wanted()) return; // its turn came late
    try {
      const answer = await fetch(this.getAttribute("src"));
      if (!answer.ok) throw new Error(`${answer.status}`);
      this.draw(await answer.json());
      this.pause = this.usual;
    } catch (error) {
      this.pause = Math.min(2 * this.pause, PAUSE_MOST_MS);
      this.said.textContent = `The values could not be read (${error.message}).`;
    }
  }

  /** Who looks at a part of it, drawn out with the mouse, goes on to see that. */
  renew(data) {
    const [{ min, max }, known] = [this.plot.scales.x, this.plot.data[0]];
    const close = known.length > 1 && !this.hasAttribute("span") && (min > known[0] || max < known.at(-1));
    this.plot.setData(data, !close);
    if (close) this.plot.redraw();
  }

  draw({ step, time, lines }) {
    const axisName = this.getAttribute("axis");
    const byTime = axisName === "time" || axisName === "relative";
    const first = axisName === "relative" ? Math.min(...time) : 0;
    const log = this.getAttribute("scale") === "log";
    this.hidden = this.hasAttribute("optional") && !step.length;
    if (this.hidden) return; // a plot would be drawn only once it was seen
    this.classList.toggle("one", Object.keys(lines).length < 2);
    const order = step.map((_, at) => at);
    if (byTime) order.sort((one, other) => time[one] - time[other]);
    const shown = (values) => smoothed(order.map((at) => values[at]), Number(this.getAttribute("smooth"))).map((one) => (log && one <= 0 ? null : one));
    const data = [order.map((at) => (byTime ? time[at] - first : step[at])), ...Object.values(lines).map(shown)];
    const last = Object.entries(lines).map(([name, value]) => `${name} ${said(value.at(-1))}`).join(", ");
    const where = this.hasAttribute("again") ? "" : ` at step ${step.at(-1)}`;
    this.said.textContent = step.length ? `last: ${last}${where}` : "There are no numbers.";
    if (this.plot?.series.length === data.length) return this.renew(data);
    this.plot?.destroy();
    const colour = (name) => getComputedStyle(this).getPropertyValue(name);
    const span = Number(this.getAttribute("span")); // seconds until now; 0: all that there is
    const axis = () => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
    this.plot = new uPlot({
      width: this.clientWidth, height: HEIGHT,
      scales: { x: { time: axisName === "time", range: (_, least, most) => (span ? [Date.now() / 1000 - span, Date.now() / 1000] : padded(least, most, axisName === "time")) }, y: { distr: log ? 3 : 1 } },
      axes: [axis(), { ...axis(), size: 64, values: ticks }],
      series: [{ label: axisName === "relative" ? "seconds" : byTime ? "time" : "step" }, ...Object.keys(lines).map((label, at) => ({
        label, stroke: colour(COLOURS[at % COLOURS.length]), width: 2, points: { show: step.length < 60 },
      }))],
    }, data, this.place);
  }
});
