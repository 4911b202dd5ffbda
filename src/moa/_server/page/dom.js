// Elements from plain values. Text only ever becomes text nodes, so nothing that a model wrote can become markup.

/**
 * Return a new element.
 *
 * @param {string} tag
 * @param {object} properties `on` maps event names to listeners; everything else is an attribute. `true` is an empty
 *   attribute; `false`, null and undefined are left out.
 * @param {...(Node|string|number|null|undefined|false)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") listen(made, value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(
    ...children
      .flat()
      .filter((child) => child !== false && child != null)
      .map(asNode),
  );
  return made;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

function listen(target, listeners) {
  for (const [name, listener] of Object.entries(listeners)) target.addEventListener(name, listener);
}

/** Return a new SVG element; properties are attributes. */
export function drawing(tag, properties = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** Return the element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Set an element's text, touching the page only if it differs. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
