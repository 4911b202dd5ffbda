// The waterfall: every attempt of a run on one axis of time.

import { element, setText } from "./dom.js";
import { cost, seconds, tokens } from "./numbers.js";
import { partsOf } from "./roster.js";
import { agentsOf, isBusy, isRunning } from "./run.js";

/** Draws the waterfall of one or two runs. */
export class Waterfall {
  constructor(target) {
    Object.assign(this, { target, bars: [], shape: "" });
    this.axis = element("div", { class: "axis", "aria-hidden": "true" });
    this.list = element("ol", { class: "bars", "aria-label": "Calls over time" });
    target.append(this.axis, this.list, legend());
  }

  draw(runs) {
    const rows = runs.flatMap(({ run }, index) => rowsOf(run).map((row) => ({ ...row, note: index ? "alone" : "" })));
    const shape = rows.map((row) => `${row.name} ${row.note}`).join("\n");
    if (shape !== this.shape) this.build(rows, shape);
    const spanS = niceSpan(
      Math.max(0.05, ...runs.map(({ run }) => run.elapsedS), ...rows.map(endOf)),
      runs.some(({ run }) => isRunning(run)),
    );
    if (spanS !== this.spanS) this.ticks(spanS);
    rows.forEach((row, index) => this.bars[index].draw(row, spanS));
  }

  build(rows, shape) {
    this.shape = shape;
    this.bars = rows.map((row) => new Bar(row));
    this.list.replaceChildren(...this.bars.map((bar) => bar.node));
  }

  ticks(spanS) {
    this.spanS = spanS;
    const step = niceStep(spanS);
    const marks = [];
    for (let at = 0; at <= spanS * 1.0001; at += step) marks.push(tick(at, spanS));
    this.axis.replaceChildren(element("span"), element("div", { class: "track" }, ...marks));
  }
}

class Bar {
  constructor({ name, note, title }) {
    this.queue = element("i", { class: "queue" });
    this.wait = element("i", { class: "wait" });
    this.write = element("i", { class: "write" });
    this.figures = element("span", { class: "number" });
    const label = element("span", { class: "who", title }, name, note ? element("small", {}, ` ${note}`) : null);
    this.node = element(
      "li",
      {},
      label,
      element("div", { class: "track", "aria-hidden": "true" }, this.queue, this.wait, this.write),
      this.figures,
    );
  }

  draw(row, spanS) {
    const firstS = row.firstS ?? row.durationS;
    place(this.queue, row.startS, row.queueS, spanS);
    place(this.wait, row.startS + row.queueS, firstS, spanS);
    place(this.write, row.startS + row.queueS + firstS, row.durationS - firstS, spanS);
    if (this.node.dataset.state !== row.state) this.node.dataset.state = row.state;
    setText(this.figures, row.figures);
  }
}

function place(bar, startS, durationS, spanS) {
  bar.style.left = `${((100 * startS) / spanS).toFixed(3)}%`;
  bar.style.width = `${((100 * Math.max(0, durationS)) / spanS).toFixed(3)}%`;
}

function rowsOf(run) {
  const calls = run.ledger?.calls;
  return calls?.length
    ? calls.flatMap((call) => rowsOfCall(call, run))
    : agentsOf(run)
        .filter((agent) => agent.startedS !== null)
        .map((agent) => liveRow(agent, run));
}

function nameIn(run, { agent, model }, isLast) {
  if (!run.layers.length) return partsOf(model)[1];
  return isLast ? "Aggregator" : agent;
}

function rowsOfCall(call, run) {
  const name = nameIn(run, call, call.purpose !== "proposal");
  return call.attempts.map((attempt, index) => ({
    name: index ? `${name}, ${attempt.hedge ? "hedge" : `attempt ${index + 1}`}` : name,
    title: call.model,
    startS: attempt.started_s,
    queueS: attempt.queue_s,
    firstS: attempt.first_token_s,
    durationS: attempt.duration_s,
    state: attempt.status,
    figures: [seconds(attempt.queue_s + attempt.duration_s), tokensOf(attempt), price(attempt)]
      .filter(Boolean)
      .join(" · "),
  }));
}

function tokensOf({ usage, usage_source: source }) {
  if (!usage?.total_tokens) return "";
  return `${source === "estimated" ? "~" : ""}${tokens(usage)}`;
}

function price({ usage, usage_source: source, cost_usd: costUsd }) {
  if (!usage?.total_tokens) return "";
  return source === "estimated" && costUsd != null ? cost(0, costUsd) : cost(costUsd);
}

function liveRow(agent, run) {
  const durationS = agent.durationS ?? Math.max(0, run.elapsedS - agent.startedS);
  const state = isBusy(agent) ? "running" : agent.state === "done" || agent.state === "cut off" ? "ok" : "failed";
  return {
    name: nameIn(run, agent, agent === run.aggregator),
    title: agent.asked,
    startS: agent.startedS,
    queueS: 0,
    firstS: agent.firstTokenS,
    durationS,
    state,
    figures: seconds(durationS),
  };
}

function endOf(row) {
  return row.startS + row.queueS + row.durationS;
}

/** While a run goes on, the axis grows in steps, so that the bars don't shrink with every frame. */
function niceSpan(endS, running) {
  if (!running) return endS;
  let span = 0.5;
  while (span < endS) span *= 1.5;
  return span;
}

function niceStep(spanS) {
  const rough = spanS / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function tick(at, spanS) {
  const mark = element("span", { class: "tick" }, at === 0 ? "0" : seconds(at));
  mark.style.left = `${(100 * at) / spanS}%`;
  return mark;
}

function legend() {
  const entry = (name, text) => element("span", {}, element("i", { class: name }), text);
  return element(
    "p",
    { class: "legend" },
    entry("queue", "in line"),
    entry("wait", "to the first token"),
    entry("write", "writing"),
  );
}
