// One question, asked of a mixture and maybe of a single model beside it.

import * as api from "./api.js";
import { alone, rosterOf } from "./roster.js";
import { fold, isRunning, newRun } from "./run.js";

/**
 * A question and its runs.
 *
 * @param {object} request `{prompt, system, mixture, name, baseline, seed, deadline_s, budget_usd}`; `name` is given if
 *   the mixture is the server's own, unchanged.
 * @param {() => void} changed Called after every event.
 */
export class Session {
  constructor(request, changed = () => {}) {
    Object.assign(this, {
      request,
      changed,
      at: new Date().toISOString(),
      id: crypto.randomUUID?.() ?? String(Date.now()),
    });
    this.controller = new AbortController();
    this.runs = plannedRuns(request).map(({ title, mixture, sent }) => ({
      title,
      sent,
      run: newRun(rosterOf(mixture)),
    }));
  }

  get isRunning() {
    return this.runs.some(({ run }) => isRunning(run));
  }

  /** Run everything side by side; resolves when all has ended, well or not. Returns the first fault, or null. */
  async go() {
    const faults = await Promise.all(this.runs.map((entry) => this.follow(entry)));
    return faults.find(Boolean) ?? null;
  }

  async follow({ run, sent }) {
    const began = performance.now();
    const elapsed = () => (performance.now() - began) / 1000;
    Object.assign(run, { state: "starting", clock: elapsed });
    try {
      for await (const event of api.run(bodyOf(this.request, sent), this.controller.signal)) {
        fold(run, event, elapsed());
        this.changed();
      }
      if (isRunning(run)) throw new TypeError("ended early");
    } catch (error) {
      return this.ended(run, error, elapsed());
    } finally {
      run.clock = null;
      this.changed();
    }
    return null;
  }

  ended(run, error, atS) {
    if (!isRunning(run)) return null;
    if (error.name === "AbortError") {
      fold(run, { type: "stopped" }, atS);
      return null;
    }
    const broken = { code: "connection_lost", message: "The connection broke off before the run had ended." };
    const fault = error instanceof api.Fault ? error : null;
    fold(run, { type: "error", error: fault ? { code: fault.code, message: fault.message } : broken }, atS);
    return fault;
  }

  stop() {
    this.controller.abort();
  }

  /** Let the clocks of what still runs go on. */
  tick() {
    for (const { run } of this.runs) if (run.clock) run.elapsedS = run.clock();
  }
}

/** Return the session of a record of the history, its runs as they ended. */
export function replayed(record) {
  const session = new Session(record.request);
  Object.assign(session, { at: record.at, id: record.id });
  session.runs.forEach(({ run }, index) => {
    for (const event of record.runs[index] ?? []) fold(run, event, event.at_s ?? 0);
    if (run.state === "idle" || isRunning(run)) fold(run, { type: "stopped" }, run.elapsedS);
  });
  return session;
}

function plannedRuns({ mixture, name, baseline, baseline_price: price }) {
  const own = { title: mixture.name ?? "Mixture", mixture, sent: name ?? mixture };
  if (!baseline) return [own];
  // As long an answer as the mixture's, or the comparison of cost would be one of lengths.
  const single = alone(baseline, { max_tokens: mixture.aggregator?.max_tokens, price });
  return [own, { title: baseline, mixture: single, sent: single }];
}

function bodyOf(request, mixture) {
  const messages = [{ role: "user", content: request.prompt }];
  if (request.system) messages.unshift({ role: "system", content: request.system });
  const body = { mixture, messages };
  for (const name of ["seed", "deadline_s", "budget_usd"]) if (request[name] != null) body[name] = request[name];
  return body;
}
