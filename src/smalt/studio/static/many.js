// <s-many data-kept="KEY" data-most="500"> around a list whose rows begin with a checkbox: the choice, told and made with
// mouse and keyboard. Shift and a click choose a range; up and down (or k and j) move through the rows, space or x chooses,
// Enter opens. What is chosen stays so on the other pages of the same list (`data-of` of #list says which that is), when
// it comes anew, and for who comes back to it in this tab; a filter keeps what it shows. `#done`: it was done, and is over.
const DONE = "#done";

customElements.define("s-many", class extends HTMLElement {
  connectedCallback() {
    this.chosen = new Set(this.kept());
    if (location.hash === DONE) {
      this.chosen.clear();
      history.replaceState(history.state, "", location.pathname + location.search);
    }
    this.addEventListener("change", ({ target }) => {
      if (target.matches(".every")) for (const one of this.boxes()) this.choose(one, target.checked);
      else if (target.matches("tbody input[type=checkbox]")) this.choose(target, target.checked);
      this.tell();
    });
    this.addEventListener("click", (event) => this.click(event));
    this.addEventListener("keydown", (event) => this.key(event));
    this.closest("form").addEventListener("formdata", ({ formData }) => { for (const name of this.chosen) formData.set(name, "on"); });
    document.addEventListener("htmx:afterSwap", this.swapped = () => this.show());
    this.show();
  }

  disconnectedCallback() {
    document.removeEventListener("htmx:afterSwap", this.swapped);
  }

  boxes() {
    return [...this.querySelectorAll("tbody input[type=checkbox]")];
  }

  list() {
    return this.querySelector("#list").dataset.of;
  }

  kept() {
    this.of = this.list();
    try {
      const { of, names } = JSON.parse(sessionStorage.getItem(this.dataset.kept));
      return of === this.of ? names : [];
    } catch { // nothing is, or by somebody else
      return [];
    }
  }

  choose(box, on) {
    box.checked = on;
    this.chosen[on ? "add" : "delete"](box.name);
  }

  /** What is there now, as it is chosen. */
  show() {
    const boxes = this.boxes();
    if (this.of !== this.list()) this.chosen = new Set(boxes.map(({ name }) => name).filter((name) => this.chosen.has(name)));
    this.of = this.list();
    for (const one of boxes) one.checked = this.chosen.has(one.name);
    this.tell();
  }

  click(event) {
    if (event.target.matches(".none")) {
      this.chosen.clear();
      return void this.show();
    }
    if (event.target.matches(".all-of-it")) return void this.chooseAll(event.target);
    if (!event.target.matches("td .tick, td.tick input")) return;
    const boxes = this.boxes();
    const [at, last] = [boxes.indexOf(event.target), boxes.findIndex((one) => one.name === this.last)];
    if (event.shiftKey && last >= 0) {
      for (const one of boxes.slice(Math.min(at, last), Math.max(at, last) + 1)) this.choose(one, event.target.checked);
    } else this.choose(event.target, event.target.checked);
    this.last = event.target.name; // also of a list that comes anew
    this.tell();
  }

  /** All of the list, as far as many are done with at once. */
  async chooseAll(button) {
    button.disabled = true;
    const of = this.of;
    try {
      const answer = await fetch(button.dataset.names, { headers: { "smalt-form": "1" } });
      const { names, more, message } = await answer.json();
      if (of !== this.of) return;
      if (!names) throw new Error(message);
      this.chosen = new Set(names.map((name) => `job.${name}`));
      this.said = more ? `, the first of the list: no more are done with at once` : "";
      this.show();
    } catch (error) {
      this.querySelector(".count").textContent = `Not chosen: ${error.message}`;
    } finally {
      button.disabled = false;
    }
  }

  key(event) {
    if (event.key === "Enter" && event.target.matches("dialog input")) { // else the form's first button would be meant
      event.preventDefault();
      event.target.closest("dialog").querySelector(".main").click();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog") || event.target.matches("input:not([type=checkbox])")) return;
    const row = event.target.closest("tbody tr");
    const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (by) {
      const rows = [...this.querySelectorAll("tbody tr")];
      const next = rows[row ? rows.indexOf(row) + by : 0];
      next?.querySelector("input").focus();
      if (next) event.preventDefault();
    } else if (event.key === "x" && row) row.querySelector("input").click();
    else if (event.key === "Enter" && row && event.target.matches("input")) {
      event.preventDefault(); // it would send the form
      row.querySelector("a").click();
    }
  }

  tell() {
    const [boxes, most, all] = [this.boxes(), Number(this.dataset.most), this.chosen.size];
    const here = boxes.filter((one) => one.checked).length;
    sessionStorage.setItem(this.dataset.kept, JSON.stringify({ of: this.of, names: [...this.chosen] }));
    if (all < most) this.said = "";
    const group = this.querySelector(".many");
    if (!group) return;
    const more = all > most ? `; at most ${most} at once` : this.said ?? "";
    group.querySelector(".count").textContent = all ? `${all} chosen${all > here ? `, ${all - here} on other pages` : ""}${more}` : "Choose jobs:";
    for (const one of group.querySelectorAll("button:not(.none, .all-of-it)")) one.disabled = !all || all > most;
    group.querySelector(".none").hidden = !all;
    const rest = group.querySelector(".all-of-it");
    if (rest) rest.hidden = !here || here < boxes.length || all >= most;
    const every = this.querySelector(".every");
    [every.checked, every.indeterminate] = [here > 0 && here === boxes.length, here > 0 && here < boxes.length];
  }
});
