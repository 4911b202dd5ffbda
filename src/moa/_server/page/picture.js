// The picture of a mixture: the prompt, the layers of cards, the aggregator, and the lines between them.

import { AgentCard } from "./card.js";
import { element } from "./dom.js";
import { Edges } from "./edges.js";
import { count } from "./numbers.js";

/**
 * Draws a run's mixture into an element.
 *
 * @param {Element} target
 * @param {(card: AgentCard) => void} open What to do when a card is opened.
 */
export class Picture {
  constructor(target, open) {
    Object.assign(this, { target, open, cards: [], run: null, layers: null });
    this.edges = new Edges(target);
    new ResizeObserver(() => this.relay()).observe(target);
  }

  /** Draw a run; rebuilds everything only if its agents have changed. */
  draw(run) {
    if (run.layers !== this.layers) this.build(run);
    this.run = run;
    for (const card of this.cards) card.draw(run);
    this.edges.draw(run);
  }

  build(run) {
    Object.assign(this, { run, layers: run.layers });
    const make = (role) => (agent) => new AgentCard(agent, { open: this.open, role });
    const rows = run.layers.map((agents) => agents.map(make("proposer")));
    const aggregator = make("aggregator")(run.aggregator);
    this.cards = [...rows.flat(), aggregator];
    this.show(rows, aggregator);
  }

  /** Put rows of cards (anything with a `node`, and maybe an `agent`) into the picture. */
  show(rows, aggregator) {
    const prompt = { node: element("p", { class: "source" }, "Prompt"), agent: null };
    this.target.replaceChildren(
      this.edges.svg,
      prompt.node,
      ...rows.map((row, index) => layerOf(row, index + 1)),
      element("div", { class: "layer last" }, aggregator.node),
    );
    this.rows = [[prompt], ...rows.map((row) => row.map(({ node, agent }) => ({ node, agent }))), [aggregator]];
    this.relay();
  }

  relay() {
    if (!this.rows || !this.target.isConnected) return;
    this.edges.lay(this.rows.filter((row) => row.length));
    if (this.run) this.edges.draw(this.run);
  }
}

function layerOf(row, number) {
  const cards = element(
    "ul",
    { class: "cards", "data-count": Math.min(row.length, 8) },
    ...row.map(({ node }) => element("li", {}, node)),
  );
  return element(
    "section",
    { class: "layer", "aria-label": `Layer ${number}, ${count(row.length, "proposer")}` },
    element("h2", { class: "layer-name" }, `Layer ${number}`),
    cards,
  );
}
