/* global uPlot: of the page */
// <s-lines src="…" label="loss" axis="|relative|time" scale="|log" smooth="0.6">: one metric of many jobs, a line for each.
import { smoothed } from "./smoothing.js";
import { ticks } from "./ticks.js";

const HEIGHT = 300;
const NAMED = 12; // with more lines than that the legend says nothing
const said = (value) => (value == null ? "–" : Number(value.toPrecision(6)));

customElements.define("s-lines", class extends HTMLElement {
  async connectedCallback() {
    const title = document.createElement("h3");
    title.textContent = this.getAttribute("label");
    this.place = document.createElement("div");
    this.said = document.createElement("p");
    this.said.className = "quiet";
    this.said.setAttribute("role", "status");
    this.append(title, this.place, this.said);
    this.sized = new ResizeObserver(() => this.plot?.setSize({ width: this.clientWidth - 16, height: HEIGHT }));
    this.sized.observe(this);
    const answer = await fetch(this.getAttribute("src"));
    if (!answer.ok) return void (this.said.textContent = `The values could not be read (${answer.status}).`);
    if (this.isConnected) this.draw((await answer.json()).lines);
  }

  disconnectedCallback() {
    this.sized.disconnect();
    this.plot?.destroy();
  }

  draw(lines) {
    if (!lines.length) return void (this.said.textContent = "None of them has logged it.");
    const log = this.getAttribute("scale") === "log";
    const axis = this.getAttribute("axis");
    const tables = lines.map(({ at, values }) => [at, smoothed(values, Number(this.getAttribute("smooth"))).map((one) => (log && one <= 0 ? null : one))]);
    const data = uPlot.join(tables);
    const colour = (name) => getComputedStyle(this).getPropertyValue(name);
    const line = () => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
    const dark = getComputedStyle(this).colorScheme === "dark";
    this.plot = new uPlot({
      width: this.clientWidth - 16, height: HEIGHT,
      legend: { show: lines.length <= NAMED },
      scales: { x: { time: axis === "time" }, y: { distr: log ? 3 : 1 } },
      axes: [{ ...line(), label: { relative: "seconds", time: "" }[axis] ?? "step", labelSize: 18 }, { ...line(), size: 64, values: ticks }],
      focus: { alpha: 0.2 },
      cursor: { focus: { prox: 24 } },
      hooks: { setSeries: [(plot, at) => this.tell(lines[at - 1], at, plot)] },
      series: [{}, ...lines.map(({ title }, at) => ({
        label: title, stroke: `hsl(${(at * 137.5) % 360} 65% ${dark ? 65 : 42}%)`, width: lines.length > 40 ? 1 : 1.5, spanGaps: true,
        points: { show: lines.length <= NAMED && lines[at].at.length < 60 }, value: (_, value) => said(value),
      }))],
    }, data, this.place);
    this.usual = `${lines.length} ${lines.length === 1 ? "job has" : "jobs have"} logged it. Point at a line for its name.`;
    this.said.textContent = this.usual;
  }

  tell(line, at) {
    this.said.textContent = line && at ? `${line.title}: last ${said(line.values.at(-1))}, at ${said(line.at.at(-1))}` : this.usual;
  }
});
