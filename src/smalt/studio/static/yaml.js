// <s-yaml>: text with numbered lines, looked at by the platform while one types; what is wrong stands at its line.
import { check } from "./session.js";

const PAUSE_MS = 400;

customElements.define("s-yaml", class extends HTMLElement {
  connectedCallback() {
    this.text = this.querySelector("textarea");
    this.numbers = this.querySelector("[data-is=numbers]");
    this.faults = this.querySelector("[data-is=faults]");
    this.said = this.querySelector("[data-is=said]");
    this.form = this.closest("form");
    this.turn = 0;
    this.text.addEventListener("input", () => { this.number(); this.soon(); });
    this.form.addEventListener("change", () => this.soon());
    this.text.addEventListener("scroll", () => { this.numbers.scrollTop = this.text.scrollTop; });
    this.faults.addEventListener("click", ({ target }) => target.dataset?.line && this.go(Number(target.dataset.line)));
    addEventListener("smalt:session", this.again = () => this.soon());
    this.number();
    this.look();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    removeEventListener("smalt:session", this.again);
  }

  soon() {
    clearTimeout(this.timer);
    this.said.textContent = "Looks …";
    this.timer = setTimeout(() => this.look(), PAUSE_MS);
  }

  number(wrong = []) {
    const lines = this.text.value.split("\n").length;
    this.numbers.replaceChildren(...Array.from({ length: lines }, (_, at) => {
      const one = document.createElement("span");
      one.textContent = at + 1;
      one.classList.toggle("wrong", wrong.includes(at + 1));
      return one;
    }));
  }

  async look() {
    const turn = ++this.turn;
    let faults;
    try {
      const answer = await fetch(this.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(this.form)), headers: { "smalt-form": "1" } });
      const found = await answer.json();
      if (["NoSession", "WrongForm"].includes(found.code)) return void this.signedOut(turn);
      faults = found.faults ?? [{ line: 1, message: found.message }];
    } catch {
      if (turn === this.turn) this.said.textContent = "The server did not answer.";
      return;
    }
    this.renewed = false;
    if (turn !== this.turn) return;
    this.number(faults.map(({ line }) => line));
    this.faults.replaceChildren(...faults.map(({ line, message }) => {
      const [item, button] = [document.createElement("li"), document.createElement("button")];
      Object.assign(button, { type: "button", textContent: `Line ${line}` });
      button.dataset.line = line;
      item.append(button, ` ${message}`);
      return item;
    }));
    this.said.textContent = faults.length ? `${faults.length} ${faults.length === 1 ? "problem" : "problems"}` : "The platform would take it.";
    this.said.dataset.state = faults.length ? "Failed" : "Succeeded";
  }

  /** Nothing is known of the text then; it is looked at once there is a session again. */
  async signedOut(turn) {
    if (turn === this.turn) this.said.textContent = "";
    if (await check() && !this.renewed) this.soon(); // with the token of that session
    this.renewed = true;
  }

  go(line) {
    const lines = this.text.value.split("\n");
    const from = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    this.text.focus();
    this.text.setSelectionRange(from, from + lines[line - 1].length);
  }
});
