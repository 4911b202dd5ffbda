// One agent's card: who it is, how it stands, the end of what it writes, and what that took.

import { element, setText } from "./dom.js";
import { cost, estimatedTokens, grouped, seconds, tokens } from "./numbers.js";
import { partsOf } from "./roster.js";
import { isBusy } from "./run.js";

const PREVIEW = 700;

/**
 * The card of one agent.
 *
 * @param {(card: AgentCard) => void} open Called when the person wants to see all of it.
 */
export class AgentCard {
  constructor(agent, { open, role }) {
    this.agent = agent;
    this.version = -1;
    const [endpoint, model] = partsOf(agent.model);
    this.state = element("span", { class: "state" });
    this.button = element(
      "button",
      { type: "button", class: "card-open", title: agent.model, on: { click: () => open(this) } },
      role === "aggregator" ? model : agent.agent,
    );
    this.text = element("p", { class: "preview", dir: "auto", "aria-hidden": "true" });
    this.time = element("span", { class: "number" });
    this.tokens = element("span", { class: "number" });
    this.cost = element("span", { class: "number" });
    this.node = element(
      "article",
      { class: `card ${role}` },
      element("header", {}, element("h3", {}, this.button), this.state),
      element("p", { class: "endpoint" }, role === "aggregator" ? `Aggregator · ${endpoint}` : endpoint),
      element("p", { class: "settings" }, agent.settings || "the service’s own settings"),
      this.text,
      element("footer", {}, this.time, this.tokens, this.cost),
    );
  }

  /** Draw what has changed; `run` is the agent's run. */
  draw(run) {
    if (this.agent.version !== this.version || this.idle !== (run.state === "idle")) this.drawAll(run);
    setText(this.time, timeOf(this.agent, run));
  }

  drawAll(run) {
    const { agent } = this;
    this.version = agent.version;
    this.idle = run.state === "idle";
    this.node.dataset.state = this.idle ? "idle" : agent.state;
    this.node.classList.toggle("selected", agent.selected);
    setText(this.state, this.idle ? "" : agent.selected ? "selected" : agent.state);
    setText(this.text, previewOf(agent));
    this.text.classList.toggle("live", isBusy(agent));
    setText(this.tokens, tokensOf(agent));
    setText(this.cost, costOf(agent));
    const asked = agent.asked !== agent.model && agent.startedS !== null;
    this.button.title = asked ? `${agent.model}, answered by ${agent.asked}` : agent.model;
  }
}

function previewOf(agent) {
  // A server that is open to others tells the code alone.
  if (agent.error) return (agent.error.message ?? agent.error.code).replace(`${agent.asked}: `, "");
  const text = agent.text || agent.reasoning;
  if (isBusy(agent)) return plain(text.slice(-PREVIEW));
  return plain(text.slice(0, PREVIEW));
}

/** Without the marks of Markdown, of which a few lines show more noise than sense. */
function plain(text) {
  return text.replace(/\*\*|__|`|^#{1,6} /gm, "");
}

function timeOf(agent, run) {
  if (agent.durationS !== null) return seconds(agent.durationS);
  return isBusy(agent) ? `${Math.max(0, run.elapsedS - agent.startedS).toFixed(1)} s` : "";
}

function tokensOf(agent) {
  if (agent.usage?.total_tokens) return tokens(agent.usage);
  const written = agent.text.length + agent.reasoning.length;
  return written ? `~${grouped(estimatedTokens(written))} tok` : "";
}

function costOf(agent) {
  if (agent.durationS === null || agent.state === "stopped") return "";
  if (agent.error && !agent.costUsd && !agent.estimatedUsd) return "";
  return agent.costUsd === null ? "price ?" : cost(agent.costUsd, agent.estimatedUsd);
}
