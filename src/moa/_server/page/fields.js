// A labelled input that edits one key of a mixture and shows the server's complaint about it.

import { element, setText } from "./dom.js";

let number = 0;

/**
 * One field of the editor.
 *
 * @param {{key: string, label: string, value: any, numeric?: boolean, choices?: string[], list?: string, hint?: string}} about
 *   `key` is the dotted path of the value in the mixture.
 * @param {(value: any) => void} changed Gets the value; undefined if the field is empty.
 */
export class Field {
  constructor(
    {
      key,
      label,
      value,
      numeric = false,
      placeholder = numeric ? "auto" : null,
      choices = null,
      list = null,
      hint = "",
    },
    changed,
  ) {
    this.key = key;
    const id = `field-${(number += 1)}`;
    this.error = element("p", { class: "field-error", id: `${id}-error`, hidden: true });
    const shared = { id, "data-key": key, "aria-describedby": `${id}-error`, title: hint || null };
    this.input = choices
      ? element(
          "select",
          shared,
          ...choices.map((choice) => element("option", { value: choice, selected: choice === value }, choice)),
        )
      : element("input", {
          ...shared,
          type: "text",
          list,
          value: value ?? "",
          inputmode: numeric ? "decimal" : null,
          spellcheck: "false",
          placeholder,
        });
    this.input.addEventListener("input", () => changed(read(this.input.value, numeric)));
    this.node = element("div", { class: "field" }, element("label", { for: id }, label), this.input, this.error);
  }

  /** Show what is wrong with the value; an empty text if nothing is. */
  complain(message) {
    setText(this.error, message);
    this.error.hidden = !message;
    if (message) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

/** A number where it is one; any other text goes to the server as it is, which says what it expected. */
function read(text, numeric) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  return numeric && Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}
