// Markdown as DOM nodes, block by block, for text that nobody vouches for and that is still being written.

import { element } from "./dom.js";
import { inline } from "./inline.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})(?:([-*+])|(\d{1,9})[.)])(?:[ \t]+|$)/;
const ROW = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MAX_DEPTH = 6;
const TOP_HEADING = 3;

/**
 * Draws a growing text. What can't change any more is drawn once; only the last blocks are drawn again.
 *
 * @param {Element} target Holds the text and nothing else.
 */
export class MarkdownView {
  constructor(target) {
    this.target = target;
    this.text = "";
    this.settled = 0;
    this.kept = 0;
  }

  /** Draw a text, cheaply if it continues the one before. */
  show(text) {
    if (text === this.text) return;
    if (!text.startsWith(this.text)) this.clear();
    this.text = text;
    const lines = text.slice(this.settled).split("\n");
    const blocks = blocksOf(lines, 0);
    while (this.target.childNodes.length > this.kept) this.target.lastChild.remove();
    this.target.append(...blocks.map((block) => block.node));
    this.settle(lines, blocks);
  }

  clear() {
    this.target.replaceChildren();
    Object.assign(this, { text: "", settled: 0, kept: 0 });
  }

  /** All blocks but the last can't change any more; the last line, still growing, may turn out to belong to them. */
  settle(lines, blocks) {
    const whole = blocks.filter((block) => block.from < lines.length - 1);
    const last = whole.at(-1);
    if (whole.length < 2) return;
    this.kept += whole.length - 1;
    this.settled += lines.slice(0, last.from).reduce((sum, line) => sum + line.length + 1, 0);
  }
}

/** Return a whole text's nodes. */
export function markdown(text) {
  return blocksOf(text.split("\n"), 0).map((block) => block.node);
}

/** Return the blocks of some lines: `{node, from}`, `from` being the block's first line. */
function blocksOf(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [node, next] = blockAt(lines, at, depth);
    blocks.push({ node, from: at });
    at = next;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return fenced(lines, at);
  const heading = HEADING.exec(line);
  if (heading) return [headingOf(heading), at + 1];
  if (RULE.test(line)) return [element("hr"), at + 1];
  if (isTable(lines, at)) return table(lines, at);
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < MAX_DEPTH && ITEM.test(line)) return list(lines, at, depth);
  return paragraph(lines, at);
}

function headingOf([, signs, text]) {
  const level = Math.min(signs.length + TOP_HEADING - 1, 6);
  return element(`h${level}`, { dir: "auto" }, ...inline(withoutClosingSigns(text.trim())));
}

function withoutClosingSigns(text) {
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  return end === 0 || text[end - 1] === " " ? text.slice(0, end).trimEnd() : text;
}

function fenced(lines, at) {
  const [, fence, language] = FENCE.exec(lines[at]);
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \t]*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const code = element("code", {}, lines.slice(at + 1, end).join("\n"));
  return [element("pre", { tabindex: 0, "data-language": language || null, dir: "ltr" }, code), end + 1];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [element("blockquote", {}, ...nodesOf(inner, depth + 1)), end];
}

function nodesOf(lines, depth) {
  return blocksOf(lines, depth).map((block) => block.node);
}

function list(lines, at, depth) {
  const [, , bullet, number] = ITEM.exec(lines[at]);
  const items = [];
  let loose = false;
  while (at < lines.length && continues(lines[at], bullet)) {
    const [item, next] = itemOf(lines, at);
    items.push(item);
    at = next;
    const gap = skipBlank(lines, at);
    if (gap >= lines.length || !continues(lines[gap], bullet)) break;
    loose ||= gap > at;
    at = gap;
  }
  const start = number && number !== "1" ? Number(number) : null;
  const children = items.map((item) => element("li", { dir: "auto" }, ...itemNodes(item, depth, loose)));
  return [element(bullet ? "ul" : "ol", { start }, ...children), at];
}

function continues(line, bullet) {
  const match = ITEM.exec(line);
  return Boolean(match) && !RULE.test(line) && (bullet ? Boolean(match[2]) : Boolean(match[3]));
}

function skipBlank(lines, at) {
  while (at < lines.length && !lines[at].trim()) at += 1;
  return at;
}

/** Return the lines of one list item, without its indentation, and where the next thing begins. */
function itemOf(lines, at) {
  const indent = ITEM.exec(lines[at])[0].length;
  const least = Math.min(indent, 2);
  const item = [lines[at].slice(indent)];
  let end = at + 1;
  while (end < lines.length) {
    const filled = skipBlank(lines, end);
    if (filled >= lines.length) break;
    const indented = /^[ \t]*/.exec(lines[filled])[0].replaceAll("\t", "    ").length;
    const lazy = filled === end && indented < least && !startsBlock(lines[end]);
    if (indented < least && !lazy) break;
    for (; end <= filled; end += 1) item.push(outdented(lines[end], Math.min(indented, indent)));
  }
  return [item, end];
}

function outdented(line, width) {
  return line.replaceAll("\t", "    ").replace(new RegExp(`^ {0,${width}}`), "");
}

function itemNodes(lines, depth, loose) {
  const task = /^\[([ xX])\][ \t]+/.exec(lines[0]);
  const rest = task ? [lines[0].slice(task[0].length), ...lines.slice(1)] : lines;
  const nodes = nodesOf(rest, depth + 1);
  const first = nodes[0];
  // A tight item's text stands in the item itself, not in a paragraph with its margins.
  const flat = !loose && first?.localName === "p" ? [...first.childNodes, ...nodes.slice(1)] : nodes;
  return task ? [task[1] === " " ? "☐ " : "☑ ", ...flat] : flat;
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !interrupts(lines, end)) end += 1;
  const text = lines
    .slice(at, end)
    .map((line) => line.trim())
    .join("\n");
  return [element("p", { dir: "auto" }, ...inline(text)), end];
}

function interrupts(lines, at) {
  const item = ITEM.exec(lines[at]);
  // "1986. A great year." inside a paragraph is no list; neither is an empty bullet.
  if (item) return Boolean(lines[at].slice(item[0].length)) && (Boolean(item[2]) || item[3] === "1");
  return startsBlock(lines[at]) || isTable(lines, at);
}

function isTable(lines, at) {
  const next = lines[at + 1];
  return next !== undefined && lines[at].includes("|") && next.includes("-") && next.includes("|") && ROW.test(next);
}

function table(lines, at) {
  const head = cells(lines[at]);
  const aligned = cells(lines[at + 1]).map(alignment);
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && lines[end].includes("|")) end += 1;
  const row = (tag, texts) =>
    element(
      "tr",
      {},
      ...head.map((_, column) => element(tag, { dir: "auto", class: aligned[column] }, ...inline(texts[column] ?? ""))),
    );
  const body = lines.slice(at + 2, end).map((line) => row("td", cells(line)));
  const made = element("table", {}, element("thead", {}, row("th", head)), element("tbody", {}, ...body));
  return [element("div", { class: "scroll", tabindex: 0 }, made), end];
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function alignment(rule) {
  if (rule.endsWith(":")) return rule.startsWith(":") ? "center" : "right";
  return null;
}
