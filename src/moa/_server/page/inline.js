// Markdown inside a line, as DOM nodes: code, emphasis, strike-through, links to web addresses. Everything else,
// HTML above all, stays the text that it is.

import { element } from "./dom.js";

const MAX_DEPTH = 8;
const MARKERS = [
  ["***", ["strong", "em"]],
  ["**", ["strong"]],
  ["__", ["strong"]],
  ["~~", ["del"]],
  ["*", ["em"]],
  ["_", ["em"]],
];
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const SPECIAL = /[\\`*_~[!<h\n]/g;
const WORD = /[\p{L}\p{N}]/u;

/** Return the nodes of a text that may hold inline Markdown. */
export function inline(text, depth = 0) {
  const nodes = [];
  const barren = new Set();
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
  };
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const found = SPECIAL.exec(text);
    const until = found ? found.index : text.length;
    plain += text.slice(at, until);
    at = until;
    if (!found) break;
    const [made, next] = special(text, at, depth, barren);
    if (made === null) plain += text.slice(at, next);
    else if (typeof made === "string") plain += made;
    else {
      flush();
      nodes.push(made);
    }
    at = next;
  }
  flush();
  return nodes;
}

/** Return what stands at a special character, a node, a text, or null for "as it is", and where it ends. */
function special(text, at, depth, barren) {
  const sign = text[at];
  const literal = [null, at + 1];
  if (sign === "\\") return escaped(text, at);
  if (sign === "\n") return [element("br"), at + 1];
  if (sign === "`") return code(text, at, barren);
  if (sign === "h") return bareLink(text, at) ?? literal;
  if (depth >= MAX_DEPTH) return literal;
  if (sign === "<") return angleLink(text, at) ?? literal;
  if (sign === "[") return link(text, at, depth, barren) ?? literal;
  if (sign === "!") return picture(text, at, barren) ?? literal;
  return emphasis(text, at, depth, barren);
}

function escaped(text, at) {
  const next = text[at + 1];
  if (next === "\n") return [element("br"), at + 2];
  return next && ESCAPABLE.test(next) ? [next, at + 2] : [null, at + 1];
}

function code(text, at, barren) {
  let end = at;
  while (text[end] === "`") end += 1;
  const fence = text.slice(at, end);
  const close = barren.has(fence) ? -1 : runOf(text, fence, end);
  if (close < 0) {
    barren.add(fence);
    return [null, end];
  }
  const inner = text.slice(end, close).replaceAll("\n", " ");
  const trimmed = inner.length > 2 && inner.startsWith(" ") && inner.endsWith(" ") ? inner.slice(1, -1) : inner;
  return [element("code", {}, trimmed), close + fence.length];
}

/** Return where a run of exactly these back ticks begins, -1 if there is none. */
function runOf(text, fence, from) {
  for (let at = text.indexOf(fence, from); at >= 0; at = text.indexOf(fence, at)) {
    let end = at;
    while (text[end] === "`") end += 1;
    if (end - at === fence.length) return at;
    at = end;
  }
  return -1;
}

function emphasis(text, at, depth, barren) {
  const match = MARKERS.find(([marker]) => text.startsWith(marker, at));
  if (!match) return [null, at + 1];
  const [marker, tags] = match;
  const start = at + marker.length;
  const close = barren.has(marker) || !opens(text, at, marker) ? -1 : closing(text, marker, start, barren);
  if (close < 0) return [null, start];
  const inner = inline(text.slice(start, close), depth + 1);
  return [tags.reduceRight((children, tag) => [element(tag, {}, ...children)], inner)[0], close + marker.length];
}

function opens(text, at, marker) {
  const after = text[at + marker.length];
  if (!after || /\s/.test(after)) return false;
  return marker[0] !== "_" || at === 0 || !WORD.test(text[at - 1]);
}

function closing(text, marker, start, barren) {
  for (let at = text.indexOf(marker, start + 1); at >= 0; at = text.indexOf(marker, at + 1)) {
    const end = at + marker.length;
    // A single star is not one half of a double one.
    if (marker.length === 1 && text[end] === marker) {
      while (text[at + 1] === marker) at += 1;
      continue;
    }
    const inWord = marker[0] === "_" && end < text.length && WORD.test(text[end]);
    if (!/\s/.test(text[at - 1]) && !inWord) return at;
  }
  // Nothing later in this text can find what is not there: without this, a text of stars takes quadratic time.
  barren.add(marker);
  return -1;
}

function link(text, at, depth, barren) {
  const parts = bracketed(text, at, barren);
  if (!parts) return null;
  const address = webAddress(parts.target);
  if (!address) return null;
  return [anchor(address, inline(parts.label, depth + 1)), parts.end];
}

/** An image is never fetched (its address could carry what was said): it becomes a link. */
function picture(text, at, barren) {
  if (text[at + 1] !== "[") return null;
  const parts = bracketed(text, at + 1, barren);
  const address = parts && webAddress(parts.target);
  return address ? [anchor(address, [`image: ${parts.label || address}`]), parts.end] : null;
}

function bracketed(text, at, barren) {
  const middle = barren.has("](") ? -1 : text.indexOf("](", at);
  if (middle < 0) {
    barren.add("](");
    return null;
  }
  const label = text.slice(at + 1, middle);
  if (label.length > 1000 || label.lastIndexOf("[") > label.lastIndexOf("]")) return null;
  const end = closeOf(text, middle + 2);
  if (end < 0) return null;
  return { label, target: text.slice(middle + 2, end).split(/\s/, 1)[0], end: end + 1 };
}

function closeOf(text, from) {
  let depth = 0;
  for (let at = from; at < Math.min(text.length, from + 2100); at += 1) {
    if (text[at] === "\n") return -1;
    if (text[at] === "(") depth += 1;
    if (text[at] === ")" && depth-- === 0) return at;
  }
  return -1;
}

function angleLink(text, at) {
  const match = /^<(https?:\/\/[^\s<>]{1,2000})>/.exec(text.slice(at, at + 2010));
  const address = match && webAddress(match[1]);
  return address ? [anchor(address, [match[1]]), at + match[0].length] : null;
}

function bareLink(text, at) {
  if (!text.startsWith("http", at) || (at > 0 && WORD.test(text[at - 1]))) return null;
  const match = /^https?:\/\/[^\s<>"'`*]{1,2000}/.exec(text.slice(at, at + 2010));
  if (!match) return null;
  let shown = match[0].replace(/[.,;:!?]+$/, "");
  if (shown.endsWith(")") && !shown.includes("(")) shown = shown.slice(0, -1);
  const address = webAddress(shown);
  return address ? [anchor(address, [shown]), at + shown.length] : null;
}

/** Return an address if it is one of the web, else null: no `javascript:`, no `data:`, nothing relative. */
export function webAddress(text) {
  if (!/^https?:\/\//i.test(text)) return null;
  try {
    const address = new URL(text);
    return address.protocol === "https:" || address.protocol === "http:" ? address.href : null;
  } catch {
    return null;
  }
}

function anchor(address, children) {
  const rel = "noopener noreferrer nofollow";
  return element(
    "a",
    { href: address, target: "_blank", rel, title: address, referrerpolicy: "no-referrer" },
    ...children,
  );
}
