// <s-traffic>: sliders of which each moves the others, so that they add up to 100; a number beside each says the same.
customElements.define("s-traffic", class extends HTMLElement {
  connectedCallback() {
    this.numbers = [...this.querySelectorAll("input[type=number]")];
    this.sliders = this.numbers.map((number) => this.querySelector(`[data-slides="${CSS.escape(number.name)}"]`));
    this.total = this.querySelector("output");
    this.numbers.forEach((number, at) => {
      number.addEventListener("input", () => this.show());
      this.sliders[at].hidden = false;
      this.sliders[at].addEventListener("input", () => this.move(at, Number(this.sliders[at].value)));
    });
    this.querySelector("[data-nobody]")?.addEventListener("click", () => this.set(this.numbers.map(() => 0)));
    this.show();
  }

  /** The rest is shared by the others as they share it now; where they have nothing, the first has it. */
  move(at, value) {
    if (this.hasAttribute("data-most")) {
      const others = this.numbers.reduce((sum, one, other) => sum + (other === at ? 0 : Number(one.value)), 0);
      return this.set(this.numbers.map((one, other) => (other === at ? Math.min(value, this.dataset.most - others) : Number(one.value))));
    }
    if (this.numbers.length === 1) return this.set([value >= 50 ? 100 : 0]);
    const rest = 100 - value;
    const have = this.numbers.map((one, other) => (other === at ? 0 : Number(one.value)));
    const sum = have.reduce((one, other) => one + other, 0);
    const parts = have.map((one, other) => {
      if (other === at) return 0;
      return sum ? (one * rest) / sum : other === (at === 0 ? 1 : 0) ? rest : 0;
    });
    const whole = parts.map(Math.floor);
    let left = rest - whole.reduce((one, other) => one + other, 0);
    const order = parts.map((_, other) => other).filter((other) => other !== at).sort((a, b) => parts[b] % 1 - parts[a] % 1);
    for (const other of order) if (left > 0) whole[other] += 1, left -= 1;
    whole[at] = value;
    this.set(whole);
  }

  set(values) {
    values.forEach((value, at) => { this.numbers[at].value = value; });
    this.show();
  }

  show() {
    const values = this.numbers.map((one) => Number(one.value));
    values.forEach((value, at) => { this.sliders[at].value = value; });
    const sum = values.reduce((one, other) => one + other, 0);
    if (this.total) this.total.textContent = `${sum} %`;
    const wrong = this.hasAttribute("data-most") ? sum > this.dataset.most && `At most ${this.dataset.most} % can be mirrored.` : ![0, 100].includes(sum) && "The shares must add up to 100, or all be 0.";
    this.numbers[0].setCustomValidity(wrong || "");
  }
});
