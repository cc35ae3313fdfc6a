// <s-code>: files or a folder of this machine, uploaded as code; its id is in the form's hidden field then.
import { asCode, size } from "./code-upload.js";

customElements.define("s-code", class extends HTMLElement {
  connectedCallback() {
    this.id_ = this.querySelector("input[type=hidden]");
    this.said = this.querySelector("[role=status]");
    this.bar = this.querySelector("progress");
    for (const input of this.querySelectorAll("input[type=file]")) {
      input.addEventListener("change", () => input.files.length && this.take([...input.files]));
    }
    this.querySelector("[data-clear]")?.addEventListener("click", () => {
      this.id_.value = "";
      this.said.textContent = "No code.";
    });
  }

  async take(files) {
    this.bar.hidden = false;
    this.bar.value = 0;
    this.toggleAttribute("data-busy", true);
    try {
      const found = await asCode(this.dataset.workspace, files, (part) => { this.bar.value = part; });
      this.id_.value = found.id;
      this.said.textContent = `${found.count} file${found.count === 1 ? "" : "s"}, ${size(found.bytes)}, uploaded.`;
      this.id_.dispatchEvent(new Event("change", { bubbles: true }));
    } catch (error) {
      this.said.textContent = `It was not uploaded: ${error.message}`;
    } finally {
      this.bar.hidden = true;
      this.removeAttribute("data-busy");
    }
  }
});
