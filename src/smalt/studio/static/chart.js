/* global uPlot: of the page */
// <s-chart src="…" label="loss" axis="step|time" live data-job="id">: one metric; while the job runs, drawn again.
const AGAIN_MS = 2000; // what runs log is told to nobody: it is looked at while somebody looks
const HEIGHT = 220;
const ENDED = ["Completed", "Failed", "Canceled"];

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
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.heard = ({ detail }) => {
      if (detail.id === this.dataset.job && ENDED.includes(detail.to)) this.removeAttribute("live"), this.look();
    };
    document.addEventListener("smalt:change", this.heard);
    this.look();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    this.sized.disconnect();
    document.removeEventListener("smalt:change", this.heard);
    this.plot?.destroy();
  }

  async look() {
    clearTimeout(this.timer);
    if (!document.hidden) {
      try {
        const answer = await fetch(this.getAttribute("src"));
        if (!answer.ok) throw new Error(`${answer.status}`);
        this.draw(await answer.json());
      } catch (error) {
        this.said.textContent = `The values could not be read (${error.message}).`;
      }
    }
    if (this.hasAttribute("live") && this.isConnected) this.timer = setTimeout(() => this.look(), AGAIN_MS);
  }

  draw({ step, time, value }) {
    const byTime = this.getAttribute("axis") === "time";
    const order = value.map((_, at) => at);
    if (byTime) order.sort((one, other) => time[one] - time[other]);
    const data = [order.map((at) => (byTime ? time : step)[at]), order.map((at) => value[at])];
    this.said.textContent = value.length ? `last ${value.at(-1) ?? "no number"} at step ${step.at(-1)}` : "";
    if (this.plot) return void this.plot.setData(data);
    const colour = (name) => getComputedStyle(this).getPropertyValue(name);
    const axis = () => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
    this.plot = new uPlot({
      width: this.clientWidth, height: HEIGHT,
      scales: { x: { time: byTime } },
      axes: [axis(), { ...axis(), size: 64 }],
      series: [{ label: byTime ? "time" : "step" }, {
        label: this.getAttribute("label"), stroke: colour("--accent"), width: 2, points: { show: value.length < 60 },
      }],
    }, data, this.place);
  }
});
