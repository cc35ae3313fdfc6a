// <s-zone><input list="zones"></s-zone>: any time zone that this browser knows, its own the first.
customElements.define("s-zone", class extends HTMLElement {
  connectedCallback() {
    const list = document.createElement("datalist");
    list.id = this.querySelector("input").getAttribute("list");
    const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
    list.append(...[...new Set([own, "UTC", ...Intl.supportedValuesOf("timeZone")])].map((name) => new Option(name === own ? "here" : "", name)));
    this.append(list);
  }
});
