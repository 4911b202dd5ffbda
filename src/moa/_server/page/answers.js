// The answers: the mixture's, and beside it that of the single model it is compared with.

import { element, setText } from "./dom.js";
import { copy } from "./files.js";
import { MarkdownView } from "./markdown.js";
import { count } from "./numbers.js";
import { isRunning } from "./run.js";

/** Draws the answers of one or two runs. */
export class Answers {
  constructor(target) {
    Object.assign(this, { target, columns: [] });
  }

  /** Draw `[{title, run}]`. */
  draw(runs) {
    if (runs.length !== this.columns.length || runs.some(({ run }, index) => run !== this.columns[index].run))
      this.build(runs);
    for (const column of this.columns) column.draw();
  }

  build(runs) {
    this.columns = runs.map(({ title, run }) => new AnswerColumn(title, run));
    this.target.replaceChildren(...this.columns.map((column) => column.node));
    this.target.classList.toggle("two", runs.length > 1);
  }

  /** Show something in place of answers. */
  empty(node) {
    this.columns = [];
    this.target.classList.remove("two");
    this.target.replaceChildren(node);
  }
}

class AnswerColumn {
  constructor(title, run) {
    this.run = run;
    this.copy = element(
      "button",
      { type: "button", class: "quiet", hidden: true, on: { click: () => copy(run.aggregator.text, this.copy) } },
      "Copy",
    );
    this.thinking = element("p", { class: "thoughts", dir: "auto" });
    this.thoughts = element("details", { hidden: true }, element("summary", {}, "Thinking"), this.thinking);
    this.body = element("div", { class: "prose" });
    this.view = new MarkdownView(this.body);
    this.notes = element("div", { class: "notes" });
    this.wait = element("p", { class: "pending" });
    this.node = element(
      "article",
      { class: "answer", "aria-label": title },
      element("header", { class: "section-head" }, element("h2", {}, title), this.copy),
      this.thoughts,
      this.wait,
      this.body,
      this.notes,
    );
  }

  draw() {
    const { run } = this;
    const { text, reasoning } = run.aggregator;
    this.node.dataset.state = run.state;
    this.node.setAttribute("aria-busy", String(isRunning(run)));
    this.thoughts.hidden = !reasoning;
    if (reasoning) setText(this.thinking, reasoning);
    this.view.show(text);
    setText(this.wait, text ? "" : waitingFor(run));
    this.wait.hidden = Boolean(text) || !isRunning(run);
    this.copy.hidden = !text || isRunning(run);
    if (this.notedState !== run.state) this.note();
  }

  note() {
    this.notedState = this.run.state;
    this.notes.replaceChildren(...notesOf(this.run));
  }
}

function waitingFor(run) {
  const waiting = run.layers.findIndex((agents) => agents.some((agent) => agent.durationS === null));
  if (waiting >= 0) return `Waiting for layer ${waiting + 1}`;
  return "Waiting for the first word";
}

function notesOf(run) {
  if (run.state === "failed") return [failure(run)];
  if (run.state === "stopped")
    return [element("p", { class: "notice" }, "Stopped. Every call that was still running has been cancelled.")];
  const reasons = run.answer?.degraded ?? [];
  const calls = run.answer?.answer?.tool_calls ?? [];
  const cut = run.aggregator.state === "cut off" && !reasons.length;
  return [
    reasons.length ? degraded(reasons) : null,
    cut ? element("p", { class: "notice" }, "The answer was cut off at its most tokens.") : null,
    ...calls.map((call) => element("pre", { tabindex: 0 }, `${call.name}(${call.arguments})`)),
  ].filter(Boolean);
}

function failure(run) {
  const { code, message } = run.error;
  const spent = run.ledger?.calls?.length
    ? element("p", {}, `${count(run.ledger.calls.length, "call")} had been made; what they cost stands below.`)
    : null;
  return element(
    "div",
    { class: "notice bad", role: "alert" },
    element("p", {}, element("strong", {}, "The run failed. "), message),
    spent,
    element("p", { class: "code" }, code),
  );
}

function degraded(reasons) {
  const lines = reasons.map(({ agent, code, message = code }) =>
    element("li", {}, message.includes(agent) ? null : element("strong", {}, `${agent}: `), message),
  );
  return element(
    "div",
    { class: "notice" },
    element("p", {}, "Degraded: less than the mixture planned went into this answer."),
    element("ul", {}, ...lines),
  );
}
