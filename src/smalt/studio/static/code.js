// <s-code>: files or a folder of this machine, uploaded as code; its id is in the form's hidden field then.
import { size } from "./blobs.js";
import { asCode } from "./code-upload.js";

customElements.define("s-code", class extends HTMLElement {
  connectedCallback() {
    this.turn = 0;
    this.id_ = this.querySelector("input[type=hidden]");
    this.said = this.querySelector("[role=status]");
    this.bar = this.querySelector("progress");
    for (const input of this.querySelectorAll("input[type=file]")) {
      input.addEventListener("change", () => input.files.length && this.take([...input.files]));
    }
    this.querySelector("[data-clear]")?.addEventListener("click", () => {
      this.turn += 1;
      this.control?.abort();
      this.unready("");
      this.bar.hidden = true;
      this.id_.value = "";
      this.said.textContent = "No code.";
    });
    this.closest("form").addEventListener("submit", (event) => {
      if (!this.hasAttribute("data-unready")) return;
      event.preventDefault(); // it would go without its code, or with what was chosen before
      this.said.textContent = this.getAttribute("data-unready");
      this.scrollIntoView({ block: "nearest" });
    });
  }

  /** Why the form cannot be sent yet; empty: it can. */
  unready(why) {
    why ? this.setAttribute("data-unready", why) : this.removeAttribute("data-unready");
  }

  async take(files) {
    const turn = ++this.turn;
    this.control?.abort(); // of what was chosen before
    this.control = new AbortController();
    this.bar.hidden = false;
    this.bar.value = 0;
    this.unready("The code is being uploaded: wait for it, and send the form then.");
    try {
      const found = await asCode(this.dataset.workspace, files, (part) => { this.bar.value = part; }, this.control.signal);
      if (turn !== this.turn) return;
      this.unready("");
      this.id_.value = found.id;
      this.said.textContent = `${found.count} file${found.count === 1 ? "" : "s"}, ${size(found.bytes)}, uploaded.`;
      this.id_.dispatchEvent(new Event("change", { bubbles: true }));
    } catch (error) {
      if (turn !== this.turn) return;
      this.control.abort(); // what is still on its way
      this.unready("The code was not uploaded: choose it again, or 'None'.");
      this.said.textContent = `It was not uploaded: ${error.message}`;
    } finally {
      if (turn === this.turn) this.bar.hidden = true;
    }
  }
});
