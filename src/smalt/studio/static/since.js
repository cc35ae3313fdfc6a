// <s-since data-kept="KEY">: when somebody was here last, in this browser; what broke since is marked. A visit ends when
// its page is left, so that a reload within it forgets nothing.
const NEW_VISIT_MS = 30 * 60 * 1000; // away for so long
const shown = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

customElements.define("s-since", class extends HTMLElement {
  connectedCallback() {
    const kept = this.dataset.kept;
    let { begun, before, left } = { begun: Date.now(), before: 0, left: 0 };
    try {
      ({ begun, before, left } = { begun, before, left, ...JSON.parse(localStorage.getItem(kept)) });
    } catch { /* somebody else wrote there */ }
    if (Date.now() - Math.max(left, begun) > NEW_VISIT_MS) [before, begun] = [Math.max(left, begun), Date.now()];
    const keep = () => localStorage.setItem(kept, JSON.stringify({ begun, before, left: Date.now() }));
    keep();
    addEventListener("pagehide", this.gone = keep);
    let fresh = 0;
    for (const cause of document.querySelectorAll(".cause")) {
      const since = before > 0 && Date.parse(cause.dataset.at) > before;
      cause.classList.toggle("fresh", since);
      if (since) fresh += 1;
    }
    this.textContent = before ? `${fresh || "nothing"} new since your last visit, ${shown.format(before)}` : "by cause";
  }

  disconnectedCallback() {
    removeEventListener("pagehide", this.gone);
  }
});
