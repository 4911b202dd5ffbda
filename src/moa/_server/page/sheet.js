// One proposal, or the answer, in full: what was written, by whom, and every attempt at it.

import { element, setText } from "./dom.js";
import { copy } from "./files.js";
import { MarkdownView } from "./markdown.js";
import { cost, grouped, seconds } from "./numbers.js";

/** Shows an agent in a dialog; goes on drawing while the agent writes. */
export class Sheet {
  constructor(dialog) {
    Object.assign(this, { dialog, agent: null, version: -1 });
    this.title = element("h2", { id: "proposal-title" });
    this.state = element("span", { class: "state" });
    this.model = element("p", { class: "endpoint" });
    this.notice = element("p", { class: "notice bad", hidden: true });
    this.thinking = element("p", { class: "thoughts", dir: "auto" });
    this.thoughts = element("details", { hidden: true }, element("summary", {}, "Thinking"), this.thinking);
    this.body = element("div", { class: "prose" });
    this.view = new MarkdownView(this.body);
    this.attempts = element("div", {});
    this.copy = element(
      "button",
      { type: "button", class: "quiet", on: { click: () => copy(this.agent.text, this.copy) } },
      "Copy",
    );
    dialog.replaceChildren(this.layout());
    dialog.addEventListener("close", () => this.close());
  }

  layout() {
    const close = element("button", { type: "submit", class: "quiet" }, "Close");
    const head = element(
      "form",
      { method: "dialog", class: "section-head" },
      this.title,
      element("div", { class: "buttons" }, this.copy, close),
    );
    const meta = element("div", { class: "sheet-meta" }, this.model, this.state);
    return element(
      "div",
      { class: "sheet-inner" },
      head,
      meta,
      element("div", { class: "sheet-body", tabindex: 0 }, this.notice, this.thoughts, this.body, this.attempts),
    );
  }

  open(agent) {
    Object.assign(this, { agent, version: -1 });
    this.draw();
    this.dialog.showModal();
  }

  close() {
    this.agent = null;
    this.view.clear();
  }

  /** Draw what has changed, if anything is shown. */
  draw() {
    const { agent } = this;
    if (!agent || agent.version === this.version) return;
    this.version = agent.version;
    setText(this.title, agent.agent);
    setText(
      this.model,
      agent.asked === agent.model ? agent.model : `${agent.model}, asked in its stead: ${agent.asked}`,
    );
    setText(this.state, agent.state);
    this.dialog.dataset.state = agent.state;
    this.notice.hidden = !agent.error;
    setText(this.notice, agent.error ? (agent.error.message ?? agent.error.code) : "");
    this.thoughts.hidden = !agent.reasoning;
    setText(this.thinking, agent.reasoning);
    this.view.show(agent.text || (agent.startedS === null ? "*Nothing yet: it has not been asked.*" : ""));
    this.copy.hidden = !agent.text;
    this.attempts.replaceChildren(...(agent.attempts.length ? [attemptsTable(agent.attempts)] : []));
  }
}

const COLUMNS = ["Attempt", "Began", "First token", "Took", "Tokens in", "Tokens out", "Cost", "Ended"];

function attemptsTable(attempts) {
  const head = element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)));
  const rows = attempts.map((attempt, index) =>
    element("tr", {}, ...attemptCells(attempt, index).map((cell) => element("td", { class: "number" }, cell))),
  );
  return element(
    "div",
    { class: "scroll", tabindex: 0 },
    element("table", { class: "attempts" }, element("thead", {}, head), element("tbody", {}, ...rows)),
  );
}

function attemptCells(attempt, index) {
  const estimated = attempt.usage_source === "estimated";
  const tokens = (name) => (attempt.usage ? `${estimated ? "~" : ""}${grouped(attempt.usage[name])}` : "–");
  const price = estimated && attempt.cost_usd != null ? cost(0, attempt.cost_usd) : cost(attempt.cost_usd);
  return [
    `${index + 1}${attempt.hedge ? " (hedge)" : ""}${attempt.cached ? " (cache)" : ""}`,
    seconds(attempt.started_s),
    attempt.first_token_s == null ? "–" : seconds(attempt.first_token_s),
    seconds(attempt.duration_s),
    tokens("input_tokens"),
    tokens("output_tokens"),
    attempt.usage?.total_tokens ? price : "–",
    attempt.error ? attempt.error.code : (attempt.finish_reason ?? attempt.status),
  ];
}
