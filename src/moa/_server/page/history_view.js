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
    const actions = [plain("Export", () => this.export()), plain("Import…", () => this.import()), this.clear];
    return element(
      "div",
      { class: "sheet-inner" },
      element("div", { class: "section-head" }, element("h2", { id: "history-title" }, "History"), close),
      element("p", { class: "hint" }, "Kept in this browser only."),
      element("div", { class: "sheet-body" }, this.list),
      element("div", { class: "buttons" }, ...actions),
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
    return element("li", {}, open, remove);
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
