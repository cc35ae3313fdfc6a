// <s-columns>: checkboxes that write the names of what is ticked, with commas, into the text beside them, in its order.
customElements.define("s-columns", class extends HTMLElement {
  connectedCallback() {
    const text = this.querySelector("input[name]");
    const words = () => (text.value || text.placeholder).split(",").map((one) => one.trim()).filter(Boolean);
    this.addEventListener("change", (event) => {
      if (event.target === text) return;
      const { value, checked } = event.target;
      const left = words().filter((one) => one !== value);
      text.value = (checked ? [...left, value] : left).join(",");
    });
  }
});
