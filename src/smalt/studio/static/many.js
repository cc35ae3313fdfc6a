// <s-many> around a list whose rows begin with a checkbox: the choice, told and made with mouse and keyboard. Shift and a
// click choose a range; up and down (or k and j) move through the rows, space or x chooses, Enter opens. What is chosen
// stays so when the list comes anew, as far as it is in it.
customElements.define("s-many", class extends HTMLElement {
  connectedCallback() {
    this.addEventListener("change", ({ target }) => {
      if (target.matches(".every")) for (const one of this.boxes()) one.checked = target.checked;
      this.tell();
    });
    this.addEventListener("click", (event) => {
      if (!event.target.matches("td .tick, td.tick input")) return;
      const boxes = this.boxes();
      const [at, last] = [boxes.indexOf(event.target), boxes.findIndex((one) => one.name === this.last)];
      if (event.shiftKey && last >= 0) {
        for (const one of boxes.slice(Math.min(at, last), Math.max(at, last) + 1)) one.checked = event.target.checked;
      }
      this.last = event.target.name; // also of a list that comes anew
      this.tell();
    });
    this.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("htmx:beforeSwap", this.swapping = () => { this.chosen = new Set(this.boxes().filter((one) => one.checked).map((one) => one.name)); });
    document.addEventListener("htmx:afterSwap", this.swapped = () => {
      for (const one of this.boxes()) one.checked ||= Boolean(this.chosen?.has(one.name));
      this.tell();
    });
    this.tell();
  }

  disconnectedCallback() {
    document.removeEventListener("htmx:beforeSwap", this.swapping);
    document.removeEventListener("htmx:afterSwap", this.swapped);
  }

  boxes() {
    return [...this.querySelectorAll("tbody input[type=checkbox]")];
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
    const boxes = this.boxes();
    const chosen = boxes.filter((one) => one.checked).length;
    const group = this.querySelector(".many");
    if (!group) return;
    group.querySelector(".count").textContent = chosen ? `${chosen} chosen` : "Choose jobs:";
    for (const one of group.querySelectorAll("button")) one.disabled = !chosen;
    const every = this.querySelector(".every");
    [every.checked, every.indeterminate] = [chosen > 0 && chosen === boxes.length, chosen > 0 && chosen < boxes.length];
  }
});
