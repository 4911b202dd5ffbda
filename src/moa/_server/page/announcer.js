// What a screen reader is told: changes of state, a few words each and at most once a second, never single tokens.

import { setText } from "./dom.js";
import { seconds } from "./numbers.js";
import { agentsOf } from "./run.js";

const ENDED = new Set(["done", "cut off", "failed", "abandoned"]);
const LEAST_GAP_MS = 1000;

/** Tells of a run in an element that is a live region. */
export class Announcer {
  constructor(target) {
    Object.assign(this, { target, told: new Map(), news: [], lastAt: 0 });
  }

  /** Say a sentence at once. */
  say(sentence) {
    this.news = [];
    setText(this.target, sentence);
  }

  /** Collect what has changed in a run since the last look, and tell it when it is time. */
  look(run) {
    for (const agent of agentsOf(run)) this.note(agent);
    const now = performance.now();
    if (!this.news.length || now - this.lastAt < LEAST_GAP_MS) return;
    this.lastAt = now;
    setText(this.target, `${this.news.splice(0).join(". ")}.`);
  }

  note(agent) {
    const before = this.told.get(agent);
    const state = ENDED.has(agent.state) ? agent.state : "";
    this.told.set(agent, state);
    if (!state || state === before) return;
    const time = agent.durationS === null ? "" : `, ${seconds(agent.durationS)}`;
    this.news.push(`${agent.agent} ${state}${time}`);
  }

  /** Forget the run before. */
  reset() {
    this.told.clear();
    this.news = [];
  }
}
