// The history as a list to look through, take along and clear.

import { element, setText } from "./dom.js";
import { chosenFile, save } from "./files.js";
import * as history from "./history.js";
import { cost, count, seconds } from "./numbers.js";

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Shows the history in a dialog; `show(record)` opens one of its runs. */
export class HistoryView {
  constructor({ dialog, opener, badge, show }) {
    Object.assign(this, { dialog, badge, show });
    this.list = element("ul", { class: "history-list" });
    this.notice = element("p", { class: "hint", role: "status" });
    this.clear = element(
      "button",
      { type: "button", class: "quiet", on: { click: () => this.clearAll() } },
      "Delete all",
    );
    dialog.replaceChildren(this.layout());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    opener.addEventListener("click", () => this.open());
    this.count();
  }

  layout() {
    const close = element("form", { method: "dialog" }, element("button", { class: "quiet" }, "Close"));
    this.savePrompts = plain("Save prompts", () => this.writePrompts(""));
    this.addPrompts = plain("Add to a prompts file…", () => this.appendPrompts());
    const actions = [plain("Export", () => this.export()), plain("Import…", () => this.import()), this.clear];
    return element(
      "div",
      { class: "sheet-inner" },
      element("div", { class: "section-head" }, element("h2", { id: "history-title" }, "History"), close),
      element("p", { class: "hint" }, "Kept in this browser only."),
      element("div", { class: "sheet-body" }, this.list),
      element("div", { class: "buttons" }, ...actions),
      element("div", { class: "buttons" }, this.savePrompts, this.addPrompts),
      this.notice,
    );
  }

  open() {
    setText(this.notice, "");
    this.draw();
    this.dialog.showModal();
  }

  /** Say how many runs there are. */
  count() {
    const number = history.records().length;
    setText(this.badge, String(number));
    this.badge.hidden = number === 0;
  }

  draw() {
    const records = history.records();
    this.clear.hidden = records.length === 0;
    setText(this.clear, "Delete all");
    const collected = records.filter(({ id }) => history.isCollected(id)).length;
    this.savePrompts.hidden = this.addPrompts.hidden = collected === 0;
    setText(this.savePrompts, `Save ${count(collected, "prompt")} for evaluation`);
    this.list.replaceChildren(
      ...(records.length
        ? records.map((record) => this.entry(record))
        : [element("li", { class: "empty" }, "No runs yet. Every run that ends is kept here.")]),
    );
    this.count();
  }

  entry(record) {
    const { request } = record;
    const open = element(
      "button",
      { type: "button", class: "history-open", on: { click: () => this.choose(record) } },
      element("strong", {}, request.prompt.slice(0, 160)),
      element(
        "span",
        {},
        [request.mixture.name ?? "mixture", request.baseline, ...outcome(record)].filter(Boolean).join(" · "),
      ),
      element("time", { datetime: record.at }, when(record.at)),
    );
    const remove = element(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": `Delete the run “${request.prompt.slice(0, 40)}”`,
        on: { click: () => this.remove(record.id) },
      },
      "Delete",
    );
    const wanted = history.isCollected(record.id);
    const collect = element(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-pressed": String(wanted),
        "aria-label": `For evaluation: “${request.prompt.slice(0, 40)}”`,
        on: { click: () => this.collect(record.id) },
      },
      wanted ? "✓ For evaluation" : "For evaluation",
    );
    return element("li", {}, open, collect, remove);
  }

  /** Put a prompt on the list for a prompts file, or take it off. */
  collect(id) {
    history.collect(id, !history.isCollected(id));
    this.draw();
    this.list.querySelectorAll("li").forEach((item, index) => {
      if (history.records()[index]?.id === id) item.querySelector("[aria-pressed]").focus();
    });
  }

  /** Save the prompts that are on the list behind those of a file. */
  writePrompts(before) {
    const { text, added } = history.promptsFile(before);
    save("prompts.jsonl", text, "application/x-ndjson");
    setText(this.notice, `${count(added, "prompt")} saved. Evaluate them with: moa eval run prompts.jsonl`);
  }

  async appendPrompts() {
    const before = await chosenFile(".jsonl,application/x-ndjson");
    if (before !== null) this.writePrompts(before);
  }

  choose(record) {
    this.dialog.close();
    this.show(record);
  }

  remove(id) {
    history.forget(id);
    this.draw();
    (this.list.querySelector("button") ?? this.dialog.querySelector("button")).focus();
  }

  clearAll() {
    const number = history.records().length;
    if (this.clear.textContent === "Delete all") return setText(this.clear, `Really delete ${count(number, "run")}?`);
    history.forgetAll();
    return this.draw();
  }

  export() {
    save("moa-history.json", history.exported(), "application/json");
    setText(this.notice, `${count(history.records().length, "run")} exported.`);
  }

  async import() {
    const text = await chosenFile(".json,.jsonl,application/json");
    if (text === null) return;
    try {
      const number = history.take(text);
      this.draw();
      setText(this.notice, number ? `${count(number, "run")} imported.` : "Nothing new in this file.");
    } catch {
      setText(this.notice, "This file is neither a history nor a trace of this playground.");
    }
  }
}

function outcome({ runs }) {
  const last = runs[0]?.findLast(({ type }) => ["run_finished", "error", "stopped"].includes(type));
  if (last?.type !== "run_finished") return [last?.type === "error" ? "failed" : "stopped"];
  const { answer } = last;
  // Files from elsewhere may hold anything: what is not there is not shown.
  if (!answer?.latency) return [];
  return [
    answer.status === "degraded" ? "degraded" : "",
    seconds(answer.latency.total_s),
    cost(answer.cost_usd, answer.estimated_usd),
  ];
}

function when(at) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "" : WHEN.format(date);
}

function plain(text, click) {
  return element("button", { type: "button", class: "quiet", on: { click } }, text);
}
