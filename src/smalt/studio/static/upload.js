// <s-upload src="…/datastores/NAME" folder="raw/" below="id of an input" fresh>: files or a folder, from the browser to a
// datastore. With `below`, an input names a folder below `folder`; `fresh`: nothing can be there yet. When all is there it says
// "uploaded" with {names, bytes}; without a listener the list of files is asked for anew.
import { Container, Refusal, each, size } from "./blobs.js";

const SUFFIX = "blob.core.smalt";

customElements.define("s-upload", class extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `<div class="drop">
      <div class="row"><label class="button">Choose files <input type="file" multiple></label>
      <label class="button">Choose a folder <input type="file" webkitdirectory></label>
      <span class="quiet">or drop files here</span>
      <label class="check"${this.hasAttribute("fresh") ? " hidden" : ""}><input type="checkbox" name="replace"> Replace files that are there</label></div>
      <div class="row going" hidden><progress max="1" value="0" aria-label="Uploaded"></progress> <button type="button">Stop</button></div>
      <p role="status"></p><ul class="plain left"></ul></div>`;
    [this.bar, this.said, this.stop] = ["progress", "[role=status]", ".going button"].map((one) => this.querySelector(one));
    this.going = this.querySelector(".going");
    for (const input of this.querySelectorAll("[type=file]")) {
      input.addEventListener("change", () => { this.start([...input.files]); input.value = ""; });
    }
    this.addEventListener("dragover", (event) => event.preventDefault());
    this.addEventListener("drop", (event) => { event.preventDefault(); this.start([...event.dataTransfer.files]); });
    this.stop.addEventListener("click", () => this.control?.abort());
    this.leaving = (event) => { if (!this.going.hidden) event.preventDefault(); };
    addEventListener("beforeunload", this.leaving);
  }

  disconnectedCallback() {
    this.control?.abort();
    removeEventListener("beforeunload", this.leaving);
  }

  async start(files) {
    if (!files.length || !this.going.hidden) return;
    const left = this.querySelector(".left");
    left.replaceChildren();
    this.control = new AbortController();
    this.container = new Container(() => this.sign(), this.control.signal, (bytes) => this.shown(bytes));
    this.total = files.reduce((sum, file) => sum + file.size, 0);
    this.replace = this.querySelector("[name=replace]").checked;
    const more = document.getElementById(this.getAttribute("below") ?? "")?.value.trim().replaceAll("\\", "/").replace(/^\/+|\/+$/g, "");
    this.into = this.getAttribute("folder") + (more ? `${more}/` : "");
    this.going.hidden = false;
    const [names, skipped] = [[], []];
    try {
      if (this.into.split("/").some((one) => one === "." || one === "..")) throw new Refusal("a folder's name cannot be . or ..");
      await this.container.open();
      await each(files, async (file) => {
        const name = file.webkitRelativePath || file.name;
        (await this.file(name, file) ? names : skipped).push(name);
        this.files = `, ${names.length} of ${files.length} files`;
        this.container.count(name, file.size);
      });
      this.said.textContent = `${names.length} of ${files.length} files, ${size(this.total)}: done.`;
      left.replaceChildren(...skipped.slice(0, 50).map((name) => Object.assign(document.createElement("li"), { textContent: `${name}: is there already, and was left as it is` })));
      this.done(names);
    } catch (error) {
      const stopped = this.control.signal.aborted && !(error instanceof Refusal);
      this.control.abort();
      this.said.textContent = stopped ? `Stopped; ${names.length} files are there.` : `It did not work: ${error.message}. ${names.length} files are there.`;
    } finally {
      this.going.hidden = true;
    }
  }

  done(names) {
    const event = new CustomEvent("uploaded", { detail: { names, into: this.into, bytes: this.total }, cancelable: true, bubbles: true });
    if (!names.length || !this.dispatchEvent(event)) return;
    htmx.ajax("GET", location.pathname + location.search, { target: "#live", select: "#live", swap: "outerHTML" });
  }

  /** A signature for the container. */
  async sign() {
    const answer = await fetch(this.getAttribute("src"), { signal: this.control.signal });
    const found = await answer.json();
    if (!answer.ok) throw new Refusal(found.error?.message ?? `the server answered ${answer.status}`);
    const { accountName, containerName, credential } = found.azureStorageSection;
    return { container: `/${accountName.split("/").pop()}.${SUFFIX}/${containerName}`, sas: credential };
  }

  /** False: it is there already. */
  async file(name, file) {
    const unguarded = this.hasAttribute("fresh") || this.replace;
    if (!unguarded && await this.container.length(this.into + name) !== null) return false;
    await this.container.put(this.into + name, file, unguarded ? {} : { "If-None-Match": "*" });
    return true;
  }

  shown(bytes) {
    const sent = Math.min(this.total, bytes);
    this.bar.value = this.total ? sent / this.total : 1;
    this.said.textContent = `${size(sent)} of ${size(this.total)}${this.files ?? ""}`;
  }
});
