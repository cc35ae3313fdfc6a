// <s-build src="…/builds" of="jobs"><pre>…</pre></s-build>: the end of a build's log, followed while it runs; who scrolls up stops that.
import { worked } from "./place.js";
import { check, over } from "./session.js";

const AGAIN_MS = 1000; // a log that grows tells nobody
const PAUSE_MOST_MS = 60000; // where there is no answer
const OVER = ["Succeeded", "Failed"];

customElements.define("s-build", class extends HTMLElement {
  connectedCallback() {
    this.text = this.querySelector("pre");
    this.text.scrollTop = this.text.scrollHeight;
    this.pause = AGAIN_MS;
    this.timer = setTimeout(() => this.look(), AGAIN_MS);
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }

  async look() {
    if (!document.hidden && !over() && !await this.read()) return;
    if (this.isConnected) this.timer = setTimeout(() => this.look(), this.pause);
  }

  /** Whether there may be more. */
  async read() {
    const answer = await fetch(this.getAttribute("src")).catch(() => null);
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (!found) {
      this.pause = Math.min(2 * this.pause, PAUSE_MOST_MS);
      return ![401, 403, 404].includes(answer?.status) || await check() === false; // it goes on in the next session
    }
    this.pause = AGAIN_MS;
    const build = found[this.getAttribute("of")];
    const marked = worked(this.text); // it would be gone
    if (build?.log && build.log !== this.text.textContent && !marked) {
      const { scrollTop, clientHeight, scrollHeight } = this.text;
      this.text.textContent = build.log;
      if (scrollTop + clientHeight >= scrollHeight - 8) this.text.scrollTop = this.text.scrollHeight;
    }
    return Boolean(build) && (marked || !OVER.includes(build.state));
  }
});
