// <s-views data-kept="KEY">: the list's saved views (links in it, each with the query that it stands for in `data-query`) as
// one choice, and a form that saves what is shown now. Those that an older Smalt kept in this browser are offered as well.
customElements.define("s-views", class extends HTMLElement {
  connectedCallback() {
    [this.select, this.dialog, this.save] = ["select", "dialog", ".save"].map((one) => this.querySelector(one));
    this.select.append(...this.old());
    this.select.hidden = false;
    this.save.addEventListener("click", () => {
      this.querySelector("[name=query]").value = this.here();
      this.dialog.showModal();
    });
    this.select.addEventListener("change", () => {
      const { dataset } = this.select.selectedOptions[0];
      if (dataset.to) location.assign(dataset.to);
      else if (dataset.query) location.search = dataset.query;
    });
    document.addEventListener("htmx:pushedIntoHistory", this.heard = () => this.show());
    this.show();
  }

  disconnectedCallback() {
    document.removeEventListener("htmx:pushedIntoHistory", this.heard);
  }

  here() {
    const here = new URLSearchParams(location.search);
    for (const name of ["after", "wsid"]) here.delete(name);
    for (const [name, value] of [...here]) if (!value) here.delete(name);
    return here.toString();
  }

  old() {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(this.dataset.kept)) ?? {};
    } catch { /* of no use */ }
    return Object.entries(kept).map(([name, query]) => {
      const option = new Option(`${name} (in this browser)`);
      option.dataset.query = query;
      return option;
    });
  }

  show() {
    const sorted = (query) => { const found = new URLSearchParams(query); found.sort(); return found.toString(); };
    const now = sorted(this.here());
    const options = [...this.select.options];
    this.select.selectedIndex = Math.max(0, options.findIndex(({ dataset }) => dataset.query !== undefined && sorted(dataset.query) === now));
  }
});
