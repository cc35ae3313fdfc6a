// <s-tail src="…/getLogs" label="…"> in <details>: the last lines of a deployment's log, read when that is opened.
const LINES = 500;

customElements.define("s-tail", class extends HTMLElement {
  connectedCallback() {
    this.text = document.createElement("pre");
    Object.assign(this.text, { tabIndex: 0, className: "code" });
    this.text.setAttribute("aria-label", this.getAttribute("label"));
    this.button = document.createElement("button");
    Object.assign(this.button, { type: "button", textContent: "Look again" });
    this.button.addEventListener("click", () => this.look());
    this.append(this.button, this.text);
    const details = this.closest("details");
    details.addEventListener("toggle", () => details.open && this.look());
  }

  async look() {
    const answer = await fetch(this.getAttribute("src"), {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ tail: LINES }),
    });
    const found = await answer.json();
    this.text.textContent = answer.ok ? found.content || "It has said nothing yet." : found.error.message;
    this.text.scrollTop = this.text.scrollHeight;
  }
});
