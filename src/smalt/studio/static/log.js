// <s-log src="…" file="…" data-job="id">: a job's logs. The end is shown first and followed while the job runs; who scrolls
// up stops that, and may go on. Read in pieces from the blob, so that a log of any size costs what is seen of it.

const PIECE = 256 * 1024;
const KEPT = 4 * 1024 * 1024; // characters on the page
const AGAIN_MS = 500; // a log that grows tells nobody
const FIRST = ["user_logs/std_log.txt", "logs/azureml/executionlogs.txt", "azureml-logs/hyperdrive.txt"];
const ENDED = ["Completed", "Failed", "Canceled"];

customElements.define("s-log", class extends HTMLElement {
  connectedCallback() {
    this.files = {};
    this.innerHTML = `<div class="row"><label>Log <select></select></label> <button type="button" class="earlier" hidden>Earlier</button>
      <button type="button" class="follow" hidden>Follow the end</button> <a class="whole" hidden download>Download</a> <span class="quiet" role="status"></span></div>
      <pre tabindex="0" role="log" aria-label="Log" aria-live="off"></pre>`;
    [this.select, this.text, this.said] = ["select", "pre", "[role=status]"].map((one) => this.querySelector(one));
    [this.earlier, this.again, this.whole] = [".earlier", ".follow", ".whole"].map((one) => this.querySelector(one));
    this.select.addEventListener("change", () => this.choose(this.select.value));
    this.earlier.addEventListener("click", () => this.back());
    this.again.addEventListener("click", () => this.follow(true));
    this.text.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.text;
      this.follow(scrollTop + clientHeight >= scrollHeight - 8, false);
    });
    this.heard = ({ detail }) => { if (detail.id === this.dataset.job) this.list(); };
    document.addEventListener("smalt:change", this.heard);
    this.following = true;
    this.list();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    document.removeEventListener("smalt:change", this.heard);
  }

  follow(wanted, scroll = true) {
    this.following = wanted;
    this.again.hidden = wanted;
    if (wanted && scroll) this.text.scrollTop = this.text.scrollHeight;
  }

  /** Which logs there are. */
  async list() {
    const answer = await fetch(this.getAttribute("src"));
    if (!answer.ok) return void (this.said.textContent = `The logs could not be listed (${answer.status}).`);
    const { status, files } = await answer.json();
    this.files = files;
    this.over = ENDED.includes(status);
    const names = Object.keys(files);
    this.select.replaceChildren(...names.map((name) => new Option(name, name, false, name === this.name)));
    if (!names.length) {
      this.said.textContent = this.over ? "The job left no log." : "There is no log yet.";
      if (!this.over) this.soon(() => this.list(), 2 * AGAIN_MS);
    } else if (!this.name) {
      const wanted = [this.getAttribute("file"), ...FIRST].find((name) => name in files);
      this.choose(wanted ?? names[0], false);
    } else this.soon(() => this.more(), 0);
  }

  async choose(name, told = true) {
    this.name = this.select.value = name;
    if (told) {
      const here = new URL(location);
      here.searchParams.set("file", name);
      history.replaceState(null, "", here);
    }
    this.text.textContent = this.said.textContent = "";
    this.decoder = new TextDecoder();
    this.whole.href = this.files[name];
    this.whole.hidden = false;
    const size = await this.size();
    if (this.name !== name) return;
    this.start = this.end = Math.max(0, size - PIECE);
    this.earlier.hidden = this.start === 0;
    this.follow(true);
    await this.more();
  }

  /** What has come since; then again, while there may be more. */
  async more() {
    const name = this.name;
    const over = this.over; // before it is read: what is there then is all
    const there = await this.size() > this.end;
    const bytes = there ? await this.read(this.end, this.end + PIECE) : new ArrayBuffer(0);
    if (name !== this.name || !this.isConnected) return;
    if (bytes.byteLength) {
      this.end += bytes.byteLength;
      this.text.append(this.decoder.decode(bytes, { stream: true }));
      while (this.text.textContent.length > KEPT && this.text.childNodes.length > 1) this.text.firstChild.remove();
      if (this.following) this.text.scrollTop = this.text.scrollHeight;
    }
    if (bytes.byteLength || !over) this.soon(() => this.more(), bytes.byteLength === PIECE ? 0 : AGAIN_MS);
  }

  async back() {
    const from = Math.max(0, this.start - PIECE);
    const text = new TextDecoder().decode(await this.read(from, this.start));
    const height = this.text.scrollHeight;
    this.start = from;
    this.earlier.hidden = from === 0;
    this.follow(false);
    this.text.prepend(text);
    this.text.scrollTop = this.text.scrollHeight - height;
  }

  async size() {
    const answer = await fetch(this.files[this.name], { method: "HEAD" });
    return answer.ok ? Number(answer.headers.get("content-length")) : 0;
  }

  async read(from, to) {
    const answer = await fetch(this.files[this.name], { headers: { "x-ms-range": `bytes=${from}-${to - 1}` } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.arrayBuffer();
  }

  soon(what, after) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => what().catch((error) => {
      this.said.textContent = `The log could not be read (${error.message}).`;
    }), after);
  }
});
