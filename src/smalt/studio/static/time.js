// <s-time datetime="…">: in the viewer's zone; the title has it exactly, in UTC.
const shown = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

customElements.define("s-time", class extends HTMLElement {
  connectedCallback() {
    this.textContent = shown.format(new Date(this.getAttribute("datetime")));
  }
});
