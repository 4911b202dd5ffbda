// Files out of and into the browser, and the clipboard.

import { element } from "./dom.js";

/** Let the person save a text as a file. */
export function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  URL.revokeObjectURL(address);
}

/** Return a file's name out of any text. */
export function fileName(text, ending) {
  const plain = text
    .normalize("NFKD")
    .replace(/[^\w.-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 60);
  return `${plain || "moa"}.${ending}`;
}

/** Return the text of a file that the person chooses, null if none. */
export function chosenFile(accept) {
  return new Promise((resolve) => {
    const input = element("input", { type: "file", accept });
    input.addEventListener("change", () => resolve(input.files[0]?.text() ?? null));
    input.addEventListener("cancel", () => resolve(null));
    input.click();
  });
}

/** Copy a text; the button says how it went. */
export async function copy(text, button) {
  const label = button.textContent;
  const done = await navigator.clipboard.writeText(text).then(
    () => "Copied",
    () => "Copying is not allowed here",
  );
  button.textContent = done;
  setTimeout(() => {
    button.textContent = label;
  }, 1500);
}
