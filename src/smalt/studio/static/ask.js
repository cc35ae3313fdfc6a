// <s-ask>: a request to an endpoint through the gateway, as any client's. Its key is asked for when it is used, and stays in
// this script: what is in the page's text is only what somebody wanted to see.
const BYTES_MOST = 1024 * 1024; // of an answer that is shown

async function api(path, body = {}) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error?.message ?? `${answer.status}`);
  return found;
}

/** The gateway as this browser reached it, under whatever name. */
const here = (url) => new URL(url, location).pathname;

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

customElements.define("s-ask", class extends HTMLElement {
  connectedCallback() {
    const of = (name) => this.querySelector(`[data-is="${name}"]`);
    [this.body, this.of, this.token, this.said, this.answer, this.keys] = ["body", "deployment", "token", "said", "answer", "keys"].map(of);
    this.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.body.addEventListener("input", () => { this.typed = true; });
    of("fill").addEventListener("click", () => this.fill(true));
    of("show")?.addEventListener("click", ({ target }) => this.show(target));
    of("ask").disabled = false; // before, a form would be sent to the page
    this.fill(false);
  }

  async secret() {
    const { auth, api: path } = this.dataset;
    if (auth === "AADToken") return this.token.value.trim();
    if (auth === "Key") return (await api(`${path}/listKeys?${this.dataset.version}`)).primaryKey;
    return (await api(`${path}/token?${this.dataset.version}`)).accessToken;
  }

  async headers() {
    const secret = await this.secret();
    const of = this.of.value;
    return { "content-type": "application/json", ...(secret && { authorization: `Bearer ${secret}` }), ...(of && { "azureml-model-deployment": of }) };
  }

  /** With what the model says an example is: its input example, or its signature's columns. */
  async fill(asked) {
    if (!asked && (this.dataset.auth === "AADToken" || !this.hasAttribute("data-live"))) return;
    if (!this.of.value && !this.hasAttribute("data-traffic")) {
      this.said.textContent = this.of.length > 1 ? "No deployment takes traffic: choose one." : "There is no deployment yet.";
      return;
    }
    const { state } = this.of.selectedOptions[0].dataset;
    if (state && state !== "Succeeded") {
      this.said.textContent = `${this.of.value} does not answer: it is ${state}.`;
      return;
    }
    try {
      const answer = await fetch(here(this.dataset.swagger), { headers: await this.headers() });
      if (!answer.ok) throw new Error(`${answer.status}`);
      const { definitions } = await answer.json();
      const example = definitions?.ServiceInput?.example;
      if (example && (asked || !this.typed)) this.body.value = JSON.stringify(example, null, 2);
      if (example) this.inSnippets(example);
      this.said.textContent = example ? "" : "The model does not say what it takes.";
    } catch (error) {
      this.said.textContent = `What the model takes could not be read (${error.message}).`;
    }
  }

  /** In place of the body that the page has while nobody knows one: JSON that shells, Python and JavaScript read alike. */
  inSnippets(example) {
    this.shown ??= [...document.querySelectorAll("[data-body] pre")].map((place) => [place, place.textContent]);
    const text = JSON.stringify(example);
    const spelled = { curl: text.replaceAll("'", "'\\''"), python: `json.loads(${JSON.stringify(text)})`, javascript: text };
    for (const [place, first] of this.shown) {
      const { body, language } = place.closest("[data-body]").dataset;
      place.textContent = first.replace(body, () => spelled[language]);
    }
  }

  async send() {
    this.said.textContent = "Asked …";
    this.answer.textContent = "";
    try {
      const headers = await this.headers();
      const begun = performance.now();
      const answer = await fetch(here(this.dataset.score), { method: "POST", headers, body: this.body.value });
      const text = await answer.text();
      const by = answer.headers.get("azureml-model-deployment");
      this.said.textContent = `${answer.status} after ${Math.round(performance.now() - begun)} ms${by ? ` by ${by}` : ""}`;
      this.said.dataset.state = answer.ok ? "Succeeded" : "Failed";
      this.answer.textContent = text.length > BYTES_MOST ? `${text.slice(0, BYTES_MOST)}…` : pretty(text);
    } catch (error) {
      this.said.textContent = `It could not be asked: ${error.message}`;
    }
  }

  async show(button) {
    if (!this.keys.hidden) {
      this.keys.replaceChildren();
      this.keys.hidden = true;
      button.textContent = "Show the keys";
      return;
    }
    try {
      const found = await api(`${this.dataset.api}/listKeys?${this.dataset.version}`);
      this.keys.replaceChildren(...Object.entries(found).flatMap(([name, key]) => {
        const [label, value] = [document.createElement("dt"), document.createElement("dd")];
        const code = Object.assign(document.createElement("code"), { id: name, textContent: key });
        const copy = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" });
        copy.dataset.copies = name;
        label.textContent = { primaryKey: "Primary", secondaryKey: "Secondary" }[name] ?? name;
        value.append(code, " ", copy);
        return [label, value];
      }));
      this.keys.hidden = false;
      button.textContent = "Hide the keys";
    } catch (error) {
      this.said.textContent = error.message;
    }
  }
});
