/* global echarts: brought where it is needed */
// <s-scatter src="…" x="params.depth" y="metrics.auc" open="/studio/jobs/-"> and <s-parallel src="…" by="metrics.auc" open="…">:
// jobs as points of two columns, or as lines through all of them, coloured by one. A click opens the job; on an axis of
// the lines one marks a range.
const LIBRARY = new URL("vendor/echarts.min.js", import.meta.url);
const AXES_MOST = 14;
let library;

function brought() {
  library ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { src: LIBRARY, onload: () => done(globalThis.echarts), onerror: () => failed(new Error("no echarts")) });
    document.head.append(script);
  });
  return library;
}

const tables = new Map();
const table = (address) => {
  if (!tables.has(address)) tables.set(address, fetch(address).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`${answer.status}`)))));
  return tables.get(address);
};

const plain = (name) => name.replace(/^(params|metrics|tags|inputs)\./, "");
const said = (value) => (typeof value === "number" ? Number(value.toPrecision(6)) : value ?? "–");
const numeric = (values) => values.some((one) => one != null) && values.every((one) => one == null || typeof one === "number");

/** Of several columns: numbers, or (where some values are texts) categories. */
function axisOf(column) {
  if (numeric(column.values)) return { type: "value", scale: true };
  return { type: "category", data: [...new Set(column.values.map((one) => String(one ?? "–")))].sort() };
}

class Plot extends HTMLElement {
  async connectedCallback() {
    this.title_ = document.createElement("h3");
    this.place = document.createElement("div");
    this.said = document.createElement("p");
    this.said.className = "quiet";
    this.said.setAttribute("role", "status");
    this.append(this.title_, this.place, this.said);
    this.seen = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.begin());
    this.seen.observe(this);
  }

  async begin() {
    this.seen.disconnect();
    try {
      const [echarts, { jobs, columns }] = await Promise.all([brought(), table(this.getAttribute("src"))]);
      if (!this.isConnected) return;
      this.jobs = jobs;
      this.chart = echarts.init(this.place, null, { renderer: "canvas" });
      const colour = (name) => getComputedStyle(this).getPropertyValue(name).trim();
      this.draw(columns, colour);
      this.chart.on("click", ({ dataIndex, value }) => {
        const job = jobs[this.at(value, dataIndex)];
        const open = this.getAttribute("open"); // a guest sees no other page
        if (job && open) location.href = open.replace("/jobs/-", `/jobs/${encodeURIComponent(job.name)}`);
      });
      this.sized = new ResizeObserver(() => this.chart.resize());
      this.sized.observe(this.place);
    } catch (error) {
      this.said.textContent = `The values could not be read (${error.message}).`;
    }
  }

  disconnectedCallback() {
    this.seen.disconnect();
    this.sized?.disconnect();
    this.chart?.dispose();
  }

  point(job, text) {
    this.said.textContent = job ? `${job.title} (${job.status}): ${text}` : this.usual;
  }
}

customElements.define("s-scatter", class extends Plot {
  at(value) {
    return value.at(-1); // the third of a point
  }

  draw(columns, colour) {
    const [x, y] = ["x", "y"].map((one) => columns.find(({ name }) => name === this.getAttribute(one)));
    this.title_.textContent = `${plain(this.getAttribute("y"))} against ${plain(this.getAttribute("x"))}`;
    if (!x || !y) return void (this.said.textContent = "All of the jobs have the same there.");
    const axis = (column) => ({
      ...axisOf(column), name: plain(column.name), nameLocation: "middle", nameGap: 28, nameTextStyle: { color: colour("--quiet") },
      axisLabel: { color: colour("--quiet") }, axisLine: { lineStyle: { color: colour("--quiet") } }, splitLine: { lineStyle: { color: colour("--line") } },
    });
    const shown = (column, at) => (axisOf(column).type === "value" ? column.values[at] : String(column.values[at] ?? "–"));
    this.chart.setOption({
      animation: false, grid: { left: 64, right: 16, top: 12, bottom: 44 }, xAxis: axis(x), yAxis: { ...axis(y), nameGap: 48 },
      series: [{ type: "scatter", symbolSize: 9, itemStyle: { color: colour("--accent"), opacity: 0.75 }, data: this.jobs.map((_, at) => [shown(x, at), shown(y, at), at]) }],
    });
    this.usual = `${this.jobs.length} jobs. Point at one for its name; a click opens it.`;
    this.point();
    this.chart.on("mouseover", ({ value }) => this.point(this.jobs[value.at(-1)], `${said(value[0])}, ${said(value[1])}`));
    this.chart.on("mouseout", () => this.point());
  }
});

customElements.define("s-parallel", class extends Plot {
  at(_, dataIndex) {
    return dataIndex;
  }

  draw(columns, colour) {
    const by = columns.find(({ name }) => name === this.getAttribute("by"));
    const asked = (this.getAttribute("columns") ?? "").split(",").filter(Boolean);
    const wanted = columns.filter(({ name }) => (asked.length ? asked.includes(name) : /^(params|metrics|inputs|tags)\./.test(name)) && name !== by?.name);
    const axes = [...wanted.slice(0, AXES_MOST - 1), ...(by ? [by] : [])];
    this.title_.textContent = "All columns at once";
    if (axes.length < 2) return void (this.said.textContent = "There are not two columns to draw.");
    const coloured = by && numeric(by.values) ? by.values.filter((one) => one != null) : [];
    const text = { color: colour("--quiet") };
    this.chart.setOption({
      animation: false,
      parallel: { left: 48, right: 64, top: 40, bottom: 24, axisExpandable: axes.length > 10 },
      parallelAxis: axes.map((column, dim) => ({
        ...axisOf(column), dim, name: plain(column.name), nameTextStyle: text, axisLabel: text, axisLine: { lineStyle: text },
        areaSelectStyle: { width: 16, borderColor: colour("--accent"), color: colour("--accent"), opacity: 0.3 },
      })),
      ...(coloured.length > 1 && { visualMap: {
        show: false, min: Math.min(...coloured), max: Math.max(...coloured), dimension: axes.length - 1,
        inRange: { color: [colour("--accent"), colour("--wait"), colour("--bad")] },
      } }),
      series: [{
        type: "parallel", lineStyle: { width: 1.5, opacity: this.jobs.length > 100 ? 0.35 : 0.7, color: colour("--accent") }, inactiveOpacity: 0.03,
        data: this.jobs.map((_, at) => axes.map((column) => (numeric(column.values) ? column.values[at] ?? "-" : String(column.values[at] ?? "–")))),
      }],
    });
    this.usual = `${this.jobs.length} jobs, coloured by ${plain(axes.at(-1).name)}. Draw along an axis to keep those of a range.`;
    this.point();
    this.chart.on("axisareaselected", () => {
      const kept = this.chart.getModel().getSeriesByIndex(0).getRawIndicesByActiveState("active");
      this.said.textContent = kept.length && kept.length < this.jobs.length ? `${kept.length} jobs: ${kept.slice(0, 8).map((at) => this.jobs[at].title).join(", ")}${kept.length > 8 ? " …" : ""}` : this.usual;
    });
  }
});
