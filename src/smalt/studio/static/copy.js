// <s-copy><pre>…</pre></s-copy>: a button that copies what stands in it.
customElements.define("s-copy", class extends HTMLElement {
  connectedCallback() {
    if (this.querySelector("button")) return;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "Copy" });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(this.querySelector("pre").textContent);
      button.textContent = "Copied";
    });
    this.append(button);
  }
});
