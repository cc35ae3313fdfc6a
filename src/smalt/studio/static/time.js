// <s-time datetime="…" [brief]>: in the viewer's zone; of today, `brief`, without its day; the title has it exactly, in UTC.
const shown = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const ofToday = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

customElements.define("s-time", class extends HTMLElement {
  connectedCallback() {
    const at = new Date(this.getAttribute("datetime"));
    const brief = this.hasAttribute("brief") && at.toDateString() === new Date().toDateString();
    this.textContent = (brief ? ofToday : shown).format(at);
  }
});
