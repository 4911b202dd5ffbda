// Edits a mixture where it is shown: the same picture, its cards as forms. The server checks every change.

import * as api from "./api.js";
import { element, setText } from "./dom.js";
import { Field } from "./fields.js";
import { chosenFile } from "./files.js";

const CHECK_AFTER_MS = 200;
const AGENT_FIELDS = [
  { name: "model", label: "Model", list: "models", hint: "endpoint/model-id" },
  { name: "temperature", label: "Temperature", numeric: true, hint: "0 to 2; empty: the service decides" },
  { name: "max_tokens", label: "Max tokens", numeric: true, hint: "Most tokens of the reply" },
];
const SAMPLES = {
  name: "samples",
  label: "Samples",
  numeric: true,
  placeholder: "1",
  hint: "How many times it answers, side by side",
};

/**
 * The editor.
 *
 * @param {{bar: Element, picture: Picture, changed: (mixture: object, fault: Fault|null) => void}} places
 */
export class Editor {
  constructor({ bar, picture, changed }) {
    Object.assign(this, { bar, picture, changed, fields: [], draft: null, check: 0, timer: 0, yaml: null });
    this.summary = element("p", { class: "field-error", role: "alert", hidden: true });
  }

  get isOpen() {
    return this.draft !== null;
  }

  /** Show a mixture as a form. */
  open(mixture) {
    this.draft = structuredClone(mixture);
    this.bar.hidden = false;
    this.build();
  }

  close() {
    clearTimeout(this.timer);
    Object.assign(this, { draft: null, fields: [], yaml: null });
    this.bar.hidden = true;
    this.bar.replaceChildren();
  }

  build() {
    this.fields = [];
    this.yaml = null;
    this.bar.replaceChildren(...this.barParts());
    const rows = this.draft.layers.map((layer, index) => this.layerCards(layer, index));
    this.picture.show(rows, { node: this.card(this.draft.aggregator, "aggregator", "Aggregator") });
  }

  barParts() {
    const { draft } = this;
    const prompts = [...new Set(["default", "numbered", draft.prompt ?? "default"])];
    return [
      element(
        "div",
        { class: "editor-fields" },
        this.field(draft, { name: "name", key: "name", label: "Name" }),
        this.field(draft, {
          name: "aggregation",
          key: "aggregation",
          label: "Aggregation",
          choices: ["synthesis", "selection"],
          otherwise: "synthesis",
        }),
        this.field(draft, {
          name: "prompt",
          key: "prompt",
          label: "Aggregator’s prompt",
          choices: prompts,
          otherwise: "default",
        }),
      ),
      element(
        "div",
        { class: "buttons" },
        button("Add layer", () => this.addLayer()),
        button("Edit as YAML", () => this.showYaml()),
        button("Open file…", () => this.openFile()),
      ),
      this.summary,
    ];
  }

  field(target, { name, key, otherwise, ...about }) {
    const field = new Field({ ...about, key, value: target[name] ?? otherwise }, (value) => {
      if (value === undefined || value === otherwise) delete target[name];
      else target[name] = value;
      field.complain("");
      this.recheck();
    });
    this.fields.push(field);
    return field.node;
  }

  layerCards(layer, index) {
    const cards = layer.proposers.map((agent, place) => {
      const key = `layers.${index}.proposers.${place}`;
      return {
        node: this.card(
          agent,
          key,
          `Proposer ${place + 1}`,
          button(
            "Remove",
            () => this.removeProposer(index, place),
            `Remove proposer ${place + 1} of layer ${index + 1}`,
          ),
        ),
      };
    });
    const add = element(
      "div",
      { class: "card add" },
      button("Add proposer", () => this.addProposer(index), `Add a proposer to layer ${index + 1}`),
      button("Remove layer", () => this.removeLayer(index), `Remove layer ${index + 1}`),
    );
    return [...cards, { node: add }];
  }

  card(agent, key, title, ...buttons) {
    const names = key === "aggregator" ? AGENT_FIELDS : [...AGENT_FIELDS, SAMPLES];
    const fields = names.map((about) => this.field(agent, { ...about, key: `${key}.${about.name}` }));
    return element(
      "fieldset",
      { class: `card form ${key === "aggregator" ? "aggregator" : ""}` },
      element("legend", {}, title),
      ...fields,
      ...buttons,
    );
  }

  addProposer(index) {
    const { proposers } = this.draft.layers[index];
    proposers.push(structuredClone(proposers.at(-1) ?? { model: this.draft.aggregator.model }));
    delete proposers.at(-1).name;
    this.restructured(`layers.${index}.proposers.${proposers.length - 1}.model`);
  }

  removeProposer(index, place) {
    const { proposers } = this.draft.layers[index];
    if (proposers.length === 1) return this.removeLayer(index);
    proposers.splice(place, 1);
    return this.restructured(`layers.${index}.proposers.${Math.min(place, proposers.length - 1)}.model`);
  }

  addLayer() {
    const last = this.draft.layers.at(-1);
    this.draft.layers.push(last ? structuredClone(last) : { proposers: [{ model: this.draft.aggregator.model }] });
    this.restructured(`layers.${this.draft.layers.length - 1}.proposers.0.model`);
  }

  removeLayer(index) {
    this.draft.layers.splice(index, 1);
    this.restructured("aggregator.model");
  }

  restructured(focus) {
    this.build();
    this.fields.find(({ key }) => key === focus)?.input.focus();
    this.recheck();
  }

  recheck() {
    this.changed(this.draft, null);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), CHECK_AFTER_MS);
  }

  /** Have the server check the draft; only the newest check's word counts. */
  async ask() {
    const mine = (this.check += 1);
    const fault = await faultOf(api.checked(JSON.stringify(this.draft)));
    if (mine !== this.check || !this.isOpen) return;
    this.complain(fault);
    this.changed(this.draft, fault);
  }

  /** Show a fault at the field whose value it is about, or above them all. */
  complain(fault) {
    const place = fault ? this.placeOf(fault.key ?? "") : null;
    for (const field of this.fields) field.complain(field === place ? fault.message : "");
    const elsewhere = fault && !place ? fault.message : "";
    setText(this.summary, elsewhere);
    this.summary.hidden = !elsewhere;
  }

  placeOf(key) {
    return this.fields.find((field) => field.key === key) ?? null;
  }

  async showYaml() {
    if (this.yaml) return this.build();
    let text;
    try {
      text = await api.yamlOf(this.draft);
    } catch (fault) {
      return this.complain(fault);
    }
    if (this.isOpen) this.buildYaml(text);
  }

  buildYaml(text) {
    this.fields = [];
    this.yaml = element("textarea", {
      id: "yaml-text",
      class: "code",
      rows: 24,
      spellcheck: "false",
      "aria-describedby": "yaml-error",
    });
    this.yaml.value = text;
    const error = element("p", { id: "yaml-error", class: "field-error", role: "alert", hidden: true });
    const use = button("Use this", () => this.useYaml(error));
    this.bar.replaceChildren(
      element("label", { for: "yaml-text" }, "Mixture as YAML"),
      this.yaml,
      error,
      element(
        "div",
        { class: "buttons" },
        use,
        button("Back to the form", () => this.build()),
      ),
    );
    this.yaml.focus();
  }

  async useYaml(error) {
    let mixture;
    try {
      mixture = structuredClone(await api.checked(this.yaml.value));
    } catch (fault) {
      setText(error, fault.line ? `Line ${fault.line}: ${fault.message}` : fault.message);
      error.hidden = false;
      return;
    }
    if (!this.isOpen) return this.changed(mixture, null); // closed before the server's word: used all the same
    this.draft = mixture;
    this.build();
    this.recheck();
  }

  async openFile() {
    const text = await chosenFile(".yaml,.yml,.json");
    if (text === null) return;
    this.buildYaml(text);
    await this.useYaml(this.bar.querySelector("#yaml-error"));
  }
}

async function faultOf(promise) {
  try {
    await promise;
    return null;
  } catch (fault) {
    return fault;
  }
}

function button(text, click, label = null) {
  return element("button", { type: "button", class: "quiet", "aria-label": label, on: { click } }, text);
}
