// <s-log src="…" file="…" data-job="id">: a job's logs. The end is shown first and followed while the job runs; who scrolls
// up stops that, and may go on. Read in pieces from the blob, so that a log of any size costs what is seen of it.

const [SCREEN, PIECE] = [64 * 1024, 256 * 1024]; // of the end at first, then at once
const KEPT = 4 * 1024 * 1024; // characters on the page
const AGAIN_MS = 500; // a log that grows tells nobody
const PAUSE_MOST_MS = 30000; // where there is no answer
const ENDED = ["Completed", "Failed", "Canceled"];

customElements.define("s-log", class extends HTMLElement {
  connectedCallback() {
    this.files = {};
    this.innerHTML = `<div class="row"><label>Log <select></select></label> <button type="button" class="earlier" hidden>Earlier</button>
      <button type="button" class="follow" hidden>Follow the end</button> <a class="whole button" hidden download>Download</a> <span class="quiet" role="status"></span></div>
      <form class="row"><label>Search all of it <input type="search" maxlength="200"></label> <button>Search</button> <span class="quiet told" role="status"></span></form><ol class="hits" hidden></ol>
      <pre tabindex="0" role="log" aria-label="Log" aria-live="off"></pre>`;
    [this.select, this.text, this.said] = ["select", "pre", "[role=status]"].map((one) => this.querySelector(one));
    [this.earlier, this.again, this.whole] = [".earlier", ".follow", ".whole"].map((one) => this.querySelector(one));
    [this.form, this.told, this.hits] = ["form", ".told", ".hits"].map((one) => this.querySelector(one));
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.search(); });
    this.later = this.again.insertAdjacentElement("beforebegin", Object.assign(document.createElement("button"), { type: "button", textContent: "Later", hidden: true }));
    this.later.addEventListener("click", () => this.onward());
    this.select.addEventListener("change", () => this.soon(() => this.choose(this.select.value), 0));
    this.earlier.addEventListener("click", () => this.back());
    this.again.addEventListener("click", () => (this.jumped ? this.soon(() => this.choose(this.name), 0) : this.follow(true)));
    this.text.addEventListener("scroll", () => {
      const { scrollTop, clientHeight, scrollHeight } = this.text;
      if (!this.jumped) this.follow(scrollTop + clientHeight >= scrollHeight - 8, false);
    });
    this.heard = ({ detail }) => { if (detail.id === this.dataset.job) this.soon(this.listing, 0); };
    document.addEventListener("smalt:change", this.heard);
    this.following = true;
    this.turn = 0;
    this.pause = AGAIN_MS;
    this.listing = () => this.list();
    this.soon(() => this.take(JSON.parse(this.dataset.there)), 0);
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
    if (!answer.ok) throw new Error(`${answer.status}`);
    await this.take(await answer.json());
  }

  /** `first`: the one that is shown unless another is asked for; `size`: of it, if it is known. */
  async take({ status, files, first, size }) {
    this.files = files;
    this.over = ENDED.includes(status);
    const names = Object.keys(files);
    const shown = [...this.select.options].map(({ value }) => value);
    if (names.join("\n") !== shown.join("\n")) this.select.replaceChildren(...names.map((name) => new Option(name, name, false, name === this.name)));
    if (!names.length) {
      this.said.textContent = this.over ? "The job left no log." : "There is no log yet.";
      if (!this.over) this.soon(this.listing, 2 * AGAIN_MS);
    } else if (this.end === undefined) {
      const asked = this.getAttribute("file");
      await this.choose(this.name ?? (Object.hasOwn(files, asked) ? asked : first), false, this.name ? undefined : size);
    } else this.soon(() => this.more(), 0);
  }

  async choose(name, told = true, known = undefined) {
    clearTimeout(this.timer);
    const turn = ++this.turn; // what was asked for before is not of this file
    this.name = this.select.value = name;
    if (told) {
      const here = new URL(location);
      here.searchParams.set("file", name);
      history.replaceState(null, "", here);
    }
    this.text.textContent = this.said.textContent = "";
    this.decoder = new TextDecoder();
    this.jumped = false;
    this.later.hidden = true;
    this.whole.href = this.files[name];
    this.whole.hidden = false;
    this.earlier.hidden = true;
    const size = known ?? await this.size();
    if (this.turn !== turn) return;
    this.start = this.end = Math.max(0, size - SCREEN);
    this.earlier.hidden = this.start === 0;
    this.follow(true);
    await this.more(size);
  }

  /** What has come since; then again, while there may be more. The last who asked goes on, those before give up. `size`: if it is known. */
  async more(size = undefined) {
    clearTimeout(this.timer);
    if (this.jumped) return; // somebody reads elsewhere
    if (document.hidden) return this.soon(() => this.more(), AGAIN_MS); // nobody looks
    const turn = ++this.turn;
    const over = this.over; // before it is read: what is there then is all
    const there = (size ?? await this.size()) > this.end;
    if (turn !== this.turn) return;
    const bytes = there ? await this.read(this.end, this.end + PIECE) : new ArrayBuffer(0);
    if (turn !== this.turn || !this.isConnected) return;
    this.said.textContent = "";
    this.pause = AGAIN_MS;
    if (bytes.byteLength) {
      this.end += bytes.byteLength;
      this.text.append(this.decoder.decode(bytes, { stream: true }));
      this.trim();
      if (this.following) this.text.scrollTop = this.text.scrollHeight;
    }
    if (bytes.byteLength || !over) this.soon(() => this.more(), bytes.byteLength === PIECE ? 0 : AGAIN_MS);
  }

  /** The page keeps so much: of what goes at its beginning nothing can be read back, as nobody knows its bytes. */
  trim() {
    while (this.text.textContent.length > KEPT && this.text.childNodes.length > 1) {
      this.text.firstChild.remove();
      this.earlier.hidden = true;
    }
  }

  async back() {
    const { name, start } = this;
    const from = Math.max(0, start - PIECE);
    this.earlier.disabled = true;
    try {
      const text = new TextDecoder().decode(await this.read(from, start));
      if (name !== this.name || start !== this.start) return;
      const height = this.text.scrollHeight;
      this.start = from;
      this.earlier.hidden = from === 0 || this.text.textContent.length > KEPT - 2 * PIECE;
      if (!this.jumped) this.follow(false);
      this.text.prepend(text);
      this.text.scrollTop = this.text.scrollHeight - height;
    } catch (error) {
      this.said.textContent = `The log could not be read (${error.message}).`;
    } finally {
      this.earlier.disabled = false;
    }
  }

  /** Through all of the file, on the server. */
  async search() {
    const text = this.form.querySelector("input").value.trim();
    if (!text || !this.name) return;
    this.told.textContent = "Searching …";
    const wanted = this.wanted = {}; // an older answer may come after a newer
    const here = new URL(this.getAttribute("src").replace(/\/logs(?=\?|$)/, "/search"), location);
    for (const [key, value] of [["file", this.name], ["text", text]]) here.searchParams.set(key, value);
    let found, said;
    try {
      const answer = await fetch(here);
      if (!answer.ok) throw new Error(`${answer.status}`);
      found = await answer.json();
      said = `${found.value.length}${found.more ? " or more" : ""} lines in ${Math.ceil(found.searched / 1000)} kB`;
    } catch (error) {
      said = `That could not be searched (${error.message}).`;
    }
    if (wanted !== this.wanted) return;
    this.told.textContent = said;
    this.hits.hidden = !found?.value.length;
    this.hits.replaceChildren(...(found?.value ?? []).map(({ at, line }) => {
      const item = document.createElement("li");
      const button = item.appendChild(Object.assign(document.createElement("button"), { type: "button", textContent: line || "(an empty line)" }));
      button.addEventListener("click", () => this.soon(() => this.jump(at), 0));
      return item;
    }));
  }

  /** To the byte `at`: from there on one piece, and more on demand. */
  async jump(at) {
    clearTimeout(this.timer);
    const turn = ++this.turn;
    const bytes = await this.read(at, at + PIECE);
    if (turn !== this.turn) return;
    this.jumped = true;
    this.start = at;
    this.end = at + bytes.byteLength;
    this.decoder = new TextDecoder();
    this.text.textContent = this.decoder.decode(bytes, { stream: true });
    this.text.scrollTop = 0;
    this.text.focus();
    this.earlier.hidden = at === 0;
    this.later.hidden = bytes.byteLength < PIECE;
    this.again.hidden = false;
    this.following = false;
  }

  async onward() {
    const { turn, end } = this;
    this.later.disabled = true;
    try {
      const bytes = await this.read(end, end + PIECE);
      if (turn !== this.turn || end !== this.end) return;
      this.end += bytes.byteLength;
      this.text.append(this.decoder.decode(bytes, { stream: true }));
      this.later.hidden = bytes.byteLength < PIECE;
      this.trim();
      this.said.textContent = "";
    } catch (error) {
      this.said.textContent = `The log could not be read (${error.message}).`;
    } finally {
      this.later.disabled = false;
    }
  }

  /** A file that is not there yet is empty. An address that is over is asked for anew. */
  async size() {
    const answer = await fetch(this.files[this.name], { method: "HEAD" });
    if (answer.ok) return Number(answer.headers.get("content-length"));
    if (answer.status === 404) return 0;
    if (answer.status === 403) this.stale = true;
    throw new Error(`${answer.status}`);
  }

  async read(from, to) {
    const answer = await fetch(this.files[this.name], { headers: { "x-ms-range": `bytes=${from}-${to - 1}` } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.arrayBuffer();
  }

  /** A failure is said, and it is tried again, ever less often. */
  soon(what, after) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => what().catch((error) => {
      this.said.textContent = `The log could not be read (${error.message}).`;
      this.pause = Math.min(2 * this.pause, PAUSE_MOST_MS);
      if (this.isConnected) this.soon(this.stale ? this.listing : what, this.pause);
      this.stale = false;
    }), after);
  }
});
