// The page: loads what there is to choose from, and connects the parts.

import { Announcer } from "./announcer.js";
import { Answers } from "./answers.js";
import * as api from "./api.js";
import { Composer } from "./composer.js";
import { byId, element, setText } from "./dom.js";
import { Editor } from "./editor.js";
import { fileName, save } from "./files.js";
import { frames } from "./frames.js";
import * as history from "./history.js";
import { HistoryView } from "./history_view.js";
import { Picture } from "./picture.js";
import { pricesIn, rosterOf } from "./roster.js";
import { newRun } from "./run.js";
import { replayed, Session } from "./session.js";
import { Sheet } from "./sheet.js";
import { totals } from "./totals.js";
import { Waterfall } from "./waterfall.js";

class Playground {
  constructor() {
    Object.assign(this, { mixtures: [], mixture: null, name: null, session: null, fault: null, totalled: "" });
    this.sheet = new Sheet(byId("proposal"));
    this.picture = new Picture(byId("picture"), (card) => this.sheet.open(card.agent));
    this.answers = new Answers(byId("answers"));
    this.waterfall = new Waterfall(byId("waterfall"));
    this.announcer = new Announcer(byId("status"));
    this.composer = new Composer({
      run: () => this.run(),
      stop: () => this.stop(),
      chosen: (name) => this.choose(name),
    });
    this.editor = new Editor({
      bar: byId("editor-bar"),
      picture: this.picture,
      changed: (mixture, fault) => this.edited(mixture, fault),
    });
    this.history = new HistoryView({
      dialog: byId("history"),
      opener: byId("history-open"),
      badge: byId("history-count"),
      show: (record) => this.recall(record),
    });
    this.frames = frames(() => this.draw());
    byId("edit").addEventListener("click", () => (this.editor.isOpen ? this.closeEditor() : this.openEditor()));
    byId("yaml").addEventListener("click", () => this.saveYaml());
    byId("trace").addEventListener("click", () => this.saveTrace());
    document.addEventListener("keydown", (event) => this.pressed(event));
  }

  async load() {
    this.answers.empty(element("p", { class: "empty" }, "Loading the mixtures…"));
    try {
      const [mixtures, models] = await Promise.all([api.mixtures(), api.models()]);
      this.mixtures = mixtures;
      this.composer.offerModels(models);
    } catch (fault) {
      return fault.status === 401 ? this.askKey() : this.showLoadFault(fault);
    }
    if (!this.mixtures.length) return this.showNoMixtures();
    byId("run").disabled = byId("edit").disabled = byId("yaml").disabled = false;
    // Endpoints take seconds to list theirs, and may not do it at all.
    api.otherModels().then(
      (models) => this.composer.offerOtherModels(models),
      () => {},
    );
    return this.choose(this.mixtures[0].name);
  }

  showLoadFault(fault) {
    const again = element(
      "button",
      { type: "button", class: "primary", on: { click: () => this.load() } },
      "Try again",
    );
    this.answers.empty(
      element(
        "div",
        { class: "empty", role: "alert" },
        element("h2", {}, "The mixtures could not be loaded"),
        element("p", {}, fault.message),
        again,
      ),
    );
  }

  showNoMixtures() {
    this.answers.empty(
      element(
        "div",
        { class: "empty" },
        element("h2", {}, "This server has no mixture yet"),
        element("p", {}, "Start it with one: ", element("code", {}, "moa serve -m my-mixture.yaml")),
      ),
    );
  }

  askKey() {
    const key = element("input", { id: "key-value", type: "password", autocomplete: "off", required: true });
    const form = element(
      "form",
      { method: "dialog", class: "sheet-inner" },
      element("h2", { id: "key-title" }, "This server asks for an API key"),
      element("div", { class: "field" }, element("label", { for: "key-value" }, "API key"), key),
      element("p", { class: "hint" }, "Kept until this tab is closed."),
      element("div", { class: "buttons" }, element("button", { class: "primary" }, "Use this key")),
    );
    form.addEventListener("submit", () => {
      api.useKey(key.value);
      this.load();
    });
    byId("key").replaceChildren(form);
    byId("key").showModal();
  }

  /** Show a mixture of the server's. */
  choose(name) {
    const found = this.mixtures.find((mixture) => mixture.name === name);
    if (!found) return;
    Object.assign(this, { mixture: found.mixture, name, fault: null });
    setText(byId("mixture-about"), found.description ?? "");
    this.composer.offer(this.mixtures, name, null);
    this.closeEditor();
  }

  /** Show the mixture that a run would use now. */
  showIdle() {
    setText(byId("picture-title"), this.mixture.name ?? "Mixture");
    this.picture.draw(newRun(rosterOf(this.mixture)));
    if (this.session) return;
    const hint =
      "Type a prompt and press Enter. The layers show their progress above, and the answer appears here. Or start with one of these:";
    this.answers.empty(element("div", { class: "empty" }, element("p", {}, hint), this.composer.examples()));
  }

  openEditor() {
    byId("edit").setAttribute("aria-pressed", "true");
    setText(byId("edit"), "Done");
    this.editor.open(this.mixture);
    this.editor.complain(this.fault);
  }

  closeEditor() {
    byId("edit").setAttribute("aria-pressed", "false");
    setText(byId("edit"), "Edit");
    this.editor.close();
    this.showIdle();
  }

  edited(mixture, fault) {
    const isNew = this.name !== null;
    Object.assign(this, { mixture: structuredClone(mixture), name: null, fault });
    setText(byId("picture-title"), mixture.name ?? "Mixture");
    this.composer.offer(this.mixtures, null, mixture.name ?? "mixture");
    if (!this.editor.isOpen && !this.session) this.showIdle();
    if (isNew) this.announcer.say("The mixture differs from the server’s now.");
  }

  async run() {
    if (this.session?.isRunning || !this.mixture) return;
    const asked = this.composer.read();
    if (!asked) return;
    this.notice(null);
    const prices = Object.fromEntries(this.mixtures.flatMap(({ mixture }) => pricesIn(mixture)));
    const request = {
      ...asked,
      mixture: this.mixture,
      name: this.name,
      baseline_price: prices[asked.baseline] ?? null,
    };
    this.begin(new Session(request, () => this.frames.request()));
    const fault = await this.session.go();
    this.end(fault);
  }

  begin(session) {
    this.closeEditor();
    this.show(session);
    this.composer.running(true);
    this.announcer.say("Running.");
    this.frames.follow(() => session.isRunning);
    const stage = byId("stage");
    if (stage.getBoundingClientRect().top > innerHeight / 2)
      stage.scrollIntoView({ behavior: calm() ? "auto" : "smooth" });
  }

  end(fault) {
    this.composer.running(false);
    this.draw();
    this.announcer.say(outcome(this.session.runs[0].run));
    if (!history.keep(this.session)) this.notice("The browser has no room to keep this run in the history.");
    this.history.count();
    if (fault?.key && isPlace(fault.key)) this.showFault(fault);
    if (fault?.status === 401) this.askKey();
  }

  /** The server would not run the mixture: show it as a form, with the complaint at its field. */
  showFault(fault) {
    this.fault = fault;
    this.openEditor();
  }

  /** Put a session on the stage. */
  show(session) {
    this.session = session;
    this.totalled = "";
    this.announcer.reset();
    byId("figures").hidden = false;
    this.draw();
  }

  recall(record) {
    if (this.session?.isRunning) return;
    let session;
    try {
      session = replayed(record);
    } catch {
      this.notice("This run can’t be shown: its record is damaged.");
      return;
    }
    Object.assign(this, { mixture: record.request.mixture, name: null, fault: null });
    const own = this.mixtures.find(
      ({ name, mixture }) => name === record.request.name && JSON.stringify(mixture) === JSON.stringify(this.mixture),
    );
    if (own) this.name = own.name;
    this.composer.offer(this.mixtures, this.name, own ? null : (this.mixture.name ?? "mixture"));
    this.composer.fill(record.request);
    this.closeEditor();
    setText(byId("picture-title"), this.mixture.name ?? "Mixture");
    this.show(session);
  }

  stop() {
    this.session?.stop();
  }

  pressed(event) {
    if (event.key === "Escape" && this.session?.isRunning && !document.querySelector("dialog[open]")) this.stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target !== this.composer.prompt) this.run();
  }

  draw() {
    const { session } = this;
    if (!session) return;
    session.tick();
    const [first] = session.runs;
    if (!this.editor.isOpen) this.picture.draw(first.run);
    this.answers.draw(session.runs);
    this.waterfall.draw(session.runs);
    this.sheet.draw();
    this.drawTotals(session);
    if (session.isRunning) this.announcer.look(first.run);
  }

  drawTotals({ runs }) {
    const shown = runs.map(({ run }) => `${run.state} ${run.elapsedS.toFixed(1)}`).join();
    if (shown === this.totalled) return;
    this.totalled = shown;
    byId("totals").replaceChildren(totals(runs));
  }

  async saveYaml() {
    try {
      const name = this.mixture.name ?? "mixture";
      save(fileName(name, "yaml"), await api.yamlOf(this.mixture), "application/yaml");
    } catch (fault) {
      if (isPlace(fault.key)) this.showFault(fault);
      else this.notice(fault.message);
    }
  }

  saveTrace() {
    save(fileName(this.session.runs[0].run.id ?? "run", "jsonl"), history.traceOf(this.session), "application/jsonl");
  }

  notice(message) {
    byId("composer-notice").replaceChildren(...(message ? [element("p", { class: "notice bad" }, message)] : []));
  }
}

function outcome(run) {
  const said =
    { finished: "The answer is complete", failed: "The run failed", stopped: "Stopped" }[run.state] ?? "The run ended";
  return run.answer?.status === "degraded" ? "The answer is there, degraded." : `${said}.`;
}

function isPlace(key) {
  return typeof key === "string" && /^(layers|aggregator|aggregation|prompt|name|wait)\b/.test(key);
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

new Playground().load();
