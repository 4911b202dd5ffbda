// The form on the left: what to ask, of what, under which limits.

import { byId, element, setText } from "./dom.js";

const EXAMPLES = [
  "What are 3 fun things to do in San Francisco?",
  "Explain how a bicycle stays upright, to a curious ten-year-old.",
  "Compare three ways to store passwords. Which one should a small web shop use, and why?",
];
const LIMITS = ["seed", "deadline_s", "budget_usd"];

/** Reads and fills the form; `run`, `stop` and `chosen(name)` are called when the person asks for it. */
export class Composer {
  constructor({ run, stop, chosen }) {
    this.form = byId("composer");
    this.prompt = byId("prompt");
    this.mixture = byId("mixture");
    this.baseline = byId("baseline");
    this.compare = byId("compare");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      run();
    });
    this.prompt.addEventListener("keydown", (event) => this.pressed(event, run));
    this.prompt.addEventListener("input", () => this.complain(""));
    this.mixture.addEventListener("change", () => chosen(this.mixture.value));
    this.compare.addEventListener("change", () => this.showBaseline());
    byId("stop").addEventListener("click", stop);
  }

  pressed(event, run) {
    // Enter while a character is being composed (Japanese, Chinese …) ends the composing, not the prompt.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    run();
  }

  /** Return prompts to begin with, as buttons that fill them in. */
  examples() {
    const use = (text) => () => {
      this.prompt.value = text;
      this.complain("");
      this.prompt.focus();
    };
    const chips = EXAMPLES.map((text) =>
      element("button", { type: "button", class: "chip", on: { click: use(text) } }, text),
    );
    return element("div", { class: "examples", role: "group", "aria-label": "Examples" }, ...chips);
  }

  /** Offer mixtures; `edited` is the name of the one that differs from the server's, or null. */
  offer(mixtures, chosen, edited) {
    const options = mixtures.map(({ name }) =>
      element("option", { value: name, selected: !edited && name === chosen }, name),
    );
    if (edited) options.unshift(element("option", { value: "", selected: true }, `${edited} (edited)`));
    this.mixture.replaceChildren(...options);
    this.mixture.disabled = false;
  }

  /** Offer single models, to compare with and to edit with. */
  offerModels(models) {
    byId("models").replaceChildren(...models.map((model) => element("option", { value: model })));
    this.baseline.replaceChildren(...models.map((model) => element("option", { value: model }, model)));
    this.compare.disabled = models.length === 0;
    this.showBaseline();
  }

  /** Offer further models, grouped by their endpoints, below those that are served. */
  offerOtherModels(models) {
    const groups = new Map();
    for (const model of models) {
      const endpoint = model.slice(0, model.indexOf("/"));
      if (!groups.has(endpoint)) groups.set(endpoint, []);
      groups.get(endpoint).push(element("option", { value: model }, model));
    }
    for (const [label, options] of groups) this.baseline.append(element("optgroup", { label }, ...options));
    byId("models").append(...models.map((model) => element("option", { value: model })));
    if (models.length) this.compare.disabled = false;
  }

  showBaseline() {
    this.baseline.hidden = !this.compare.checked;
  }

  /** Return what has been filled in, or null if something is missing or wrong; it is marked then. */
  read() {
    const prompt = this.prompt.value.trim();
    if (!prompt) {
      this.complain("Type a prompt first.");
      this.prompt.focus();
      return null;
    }
    const wrong = LIMITS.map(byId).find((input) => !input.validity.valid);
    if (wrong) {
      byId("composer").querySelector("details").open = true;
      wrong.reportValidity();
      return null;
    }
    const limits = LIMITS.map((name) => [name, byId(name).value === "" ? null : Number(byId(name).value)]);
    const baseline = this.compare.checked ? this.baseline.value : null;
    return { prompt, system: byId("system").value.trim(), baseline, ...Object.fromEntries(limits) };
  }

  /** Fill the form with what was asked before. */
  fill(request) {
    this.prompt.value = request.prompt;
    byId("system").value = request.system ?? "";
    for (const name of LIMITS) byId(name).value = request[name] ?? "";
    this.compare.checked = Boolean(request.baseline);
    if (request.baseline) this.baseline.value = request.baseline;
    this.showBaseline();
  }

  /** Show what is wrong with the prompt. */
  complain(message) {
    setText(byId("prompt-error"), message);
    byId("prompt-error").hidden = !message;
    if (message) this.prompt.setAttribute("aria-invalid", "true");
    else this.prompt.removeAttribute("aria-invalid");
  }

  /** Show whether a run goes on; the focus stays on the one button that there is. */
  running(goes) {
    const [run, stop] = [byId("run"), byId("stop")];
    const focused = document.activeElement === (goes ? run : stop);
    run.hidden = goes;
    stop.hidden = !goes;
    if (focused) (goes ? stop : run).focus();
  }
}
