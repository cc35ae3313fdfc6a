// <s-graph> around an <svg>: fitted at first; dragged, zoomed by wheel with Ctrl, by buttons and by + − 0 and arrows.
const STEP = 1.25;
const HEIGHT_MOST = 640;

customElements.define("s-graph", class extends HTMLElement {
  connectedCallback() {
    this.svg = this.querySelector("svg");
    this.whole = [-16, -16, Number(this.svg.dataset.width), Number(this.svg.dataset.height)];
    const tools = document.createElement("div");
    tools.className = "tools";
    for (const [label, text, does] of [["Larger", "+", () => this.zoom(1 / STEP)], ["Smaller", "−", () => this.zoom(STEP)], ["All of it", "Fit", () => this.fit()]]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, title: label });
      button.setAttribute("aria-label", label);
      button.addEventListener("click", does);
      tools.append(button);
    }
    this.prepend(tools);
    this.svg.setAttribute("tabindex", "0");
    this.svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.1 : 1 / 1.1, event);
    }, { passive: false });
    this.svg.addEventListener("pointerdown", (event) => { if (event.button === 0) this.held = { x: event.clientX, y: event.clientY, view: [...this.view] }; });
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    for (const over of ["pointerup", "pointercancel"]) this.svg.addEventListener(over, () => { this.held = undefined; });
    this.svg.addEventListener("click", (event) => { if (this.moved) event.preventDefault(); this.moved = false; }, true);
    this.svg.addEventListener("dragstart", (event) => event.preventDefault());
    this.svg.addEventListener("keydown", (event) => {
      const by = this.view[2] / 10;
      const does = { "+": () => this.zoom(1 / STEP), "-": () => this.zoom(STEP), 0: () => this.fit(), ArrowLeft: () => this.pan(-by, 0), ArrowRight: () => this.pan(by, 0), ArrowUp: () => this.pan(0, -by), ArrowDown: () => this.pan(0, by) }[event.key];
      if (does && !event.ctrlKey && !event.metaKey) event.preventDefault(), does();
    });
    this.heard = ({ detail }) => { // a step is a job from now on
      const link = this.querySelector(`[data-state-of="${CSS.escape(detail.id)}"]`)?.parentElement.querySelector("a[data-to]");
      if (link) link.setAttribute("href", link.dataset.to), link.removeAttribute("data-to");
    };
    document.addEventListener("smalt:change", this.heard);
    this.fit();
    this.sized = new ResizeObserver(() => { if (this.clientWidth !== this.width) this.fit(); });
    this.sized.observe(this);
  }

  disconnectedCallback() {
    this.sized.disconnect();
    document.removeEventListener("smalt:change", this.heard);
  }

  /** All of it, but no larger than it is drawn; of a tall one the top. */
  fit() {
    const [x, y, width, height] = this.whole;
    this.width = this.clientWidth;
    const shown = Math.min(HEIGHT_MOST, Math.max(160, height * Math.min(1, this.width / width)));
    this.svg.style.height = `${shown}px`;
    const scale = Math.max(1, width / this.width, Math.min(height / shown, 2));
    this.view = [x + (width - this.width * scale) / 2, y, this.width * scale, shown * scale];
    this.apply();
  }

  zoom(by, at) {
    const [x, y, width, height] = this.view;
    const box = this.svg.getBoundingClientRect();
    const [across, down] = at ? [(at.clientX - box.x) / box.width, (at.clientY - box.y) / box.height] : [0.5, 0.5];
    this.view = [x + width * across * (1 - by), y + height * down * (1 - by), width * by, height * by];
    this.apply();
  }

  pan(x, y) {
    this.view[0] += x;
    this.view[1] += y;
    this.apply();
  }

  drag(event) {
    if (!this.held || !event.buttons) return;
    const scale = this.view[2] / this.svg.clientWidth;
    const [x, y] = [event.clientX - this.held.x, event.clientY - this.held.y];
    if (Math.abs(x) + Math.abs(y) > 4) this.moved = true;
    [this.view[0], this.view[1]] = [this.held.view[0] - x * scale, this.held.view[1] - y * scale];
    this.apply();
  }

  apply() {
    this.svg.setAttribute("viewBox", this.view.join(" "));
  }
});
