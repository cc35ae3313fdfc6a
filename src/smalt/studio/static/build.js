// <s-build src="…/builds" of="jobs"><pre>…</pre></s-build>: the end of a build's log, followed while it runs; who scrolls up stops that.
const AGAIN_MS = 1000; // a log that grows tells nobody

customElements.define("s-build", class extends HTMLElement {
  connectedCallback() {
    this.text = this.querySelector("pre");
    this.text.scrollTop = this.text.scrollHeight;
    this.timer = setTimeout(() => this.look(), AGAIN_MS);
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }

  async look() {
    const answer = await fetch(this.getAttribute("src")).catch(() => null);
    const build = answer?.ok ? (await answer.json())[this.getAttribute("of")] : null;
    if (build?.log && build.log !== this.text.textContent) {
      const { scrollTop, clientHeight, scrollHeight } = this.text;
      this.text.textContent = build.log;
      if (scrollTop + clientHeight >= scrollHeight - 8) this.text.scrollTop = this.text.scrollHeight;
    }
    if (this.isConnected && build?.state !== "Succeeded" && build?.state !== "Failed") this.timer = setTimeout(() => this.look(), AGAIN_MS);
  }
});
