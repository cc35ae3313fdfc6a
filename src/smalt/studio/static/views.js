// <s-views data-kept="KEY">: what a list shows, kept under a name in this browser; what is shared is its URL.
customElements.define("s-views", class extends HTMLElement {
  connectedCallback() {
    this.innerHTML = `<label>Views <select><option value="">–</option></select></label>
      <button type="button" class="save">Save the view</button><button type="button" class="drop" hidden>Forget it</button>
      <dialog aria-label="Save the view"><label>Name <input maxlength="80"></label>
      <div class="row"><button type="button" class="main keep">Save</button><button type="button" data-closes>Cancel</button></div></dialog>`;
    [this.select, this.dialog, this.drop, this.name] = ["select", "dialog", ".drop", "dialog input"].map((one) => this.querySelector(one));
    this.name.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(), this.keep(); });
    this.querySelector(".save").addEventListener("click", () => this.dialog.showModal());
    this.querySelector(".keep").addEventListener("click", () => this.keep());
    this.drop.addEventListener("click", () => this.change((views) => { delete views[this.select.value]; }));
    for (const what of ["change", "input"]) this.addEventListener(what, (event) => event.stopPropagation()); // they filter nothing
    this.select.addEventListener("change", () => {
      const view = this.views()[this.select.value];
      if (view !== undefined) location.search = view;
    });
    document.addEventListener("htmx:pushedIntoHistory", this.heard = () => this.show());
    this.show();
  }

  disconnectedCallback() {
    document.removeEventListener("htmx:pushedIntoHistory", this.heard);
  }

  views() {
    try {
      return JSON.parse(localStorage.getItem(this.dataset.kept)) ?? {};
    } catch {
      return {};
    }
  }

  change(how) {
    const views = this.views();
    how(views);
    localStorage.setItem(this.dataset.kept, JSON.stringify(views));
    this.show();
  }

  keep() {
    const name = this.name.value.trim();
    if (!name) return this.name.focus();
    const here = new URLSearchParams(location.search);
    here.delete("after");
    this.change((views) => { views[name] = here.toString(); });
    this.dialog.close();
  }

  show() {
    const here = new URLSearchParams(location.search);
    here.delete("after");
    const views = this.views();
    const now = Object.keys(views).find((name) => views[name] === here.toString()) ?? "";
    this.select.replaceChildren(...["", ...Object.keys(views).sort()].map((name) => new Option(name || "–", name, false, name === now)));
    this.drop.hidden = !now;
  }
});
