// A run as a value that its events are folded into. The same fold draws a live run and one from the history.

const RUNNING = new Set(["waiting", "asked", "thinking", "streaming"]);

/** Return a run that has not begun: its layers and aggregator as `[[{agent, model}]]` and `{agent, model}`. */
export function newRun({ name, layers, aggregator }) {
  return {
    name,
    id: null,
    state: "idle",
    elapsedS: 0,
    layers: layers.map((agents, layer) => agents.map((agent, index) => newAgent(agent, layer + 1, index))),
    aggregator: newAgent(aggregator, layers.length + 1, 0),
    answer: null,
    error: null,
    ledger: null,
    events: [],
  };
}

function newAgent({ agent, model, settings = "" }, layer, index) {
  return {
    agent,
    model,
    settings,
    layer,
    index,
    version: 0,
    state: "waiting",
    asked: model,
    text: "",
    reasoning: "",
    startedS: null,
    firstTokenS: null,
    durationS: null,
    usage: null,
    costUsd: null,
    estimatedUsd: 0,
    error: null,
    attempts: [],
    selected: false,
  };
}

/** Return whether a run is under way. */
export function isRunning(run) {
  return run.state === "starting" || run.state === "running";
}

/** Return all agents of a run, the aggregator last. */
export function agentsOf(run) {
  return [...run.layers.flat(), run.aggregator];
}

/** Return whether an agent has been asked and has not ended. */
export function isBusy(agent) {
  return agent.startedS !== null && RUNNING.has(agent.state);
}

/** Put an event into a run. `atS`: seconds since the run was asked for. */
export function fold(run, event, atS) {
  run.events.push({ ...event, at_s: Math.round(atS * 1e4) / 1e4 });
  run.elapsedS = atS;
  FOLDS[event.type]?.(run, event, atS);
}

const FOLDS = {
  run_started(run, event) {
    const fresh = newRun({ name: event.mixture, layers: event.layers, aggregator: event.aggregator });
    Object.assign(run, { id: event.id, state: "running", name: event.mixture });
    // The picture that is on show keeps its agents where the roster is the one it was drawn from.
    if (roster(run) !== roster(fresh)) Object.assign(run, { layers: fresh.layers, aggregator: fresh.aggregator });
  },
  call_started(run, event, atS) {
    const agent = agentAt(run, event);
    if (!agent) return;
    agent.asked = event.model;
    change(agent, { state: "asked", startedS: agent.startedS ?? atS });
  },
  proposal_delta(run, event, atS) {
    write(agentAt(run, event), event, atS);
  },
  proposal_restarted(run, event) {
    change(agentAt(run, event), { state: "asked", text: "", reasoning: "", firstTokenS: null });
  },
  proposal_finished(run, event) {
    const proposal = event.proposal;
    const agent = agentAt(run, proposal);
    const state = proposal.status === "used" ? endState(proposal) : proposal.status;
    change(agent, { ...figures(proposal), state, text: proposal.text || agent?.text, error: proposal.error });
  },
  answer_delta(run, event, atS) {
    write(run.aggregator, event, atS);
  },
  run_finished(run, event, atS) {
    const answer = event.answer;
    Object.assign(run, { state: "finished", answer, ledger: answer, elapsedS: answer.latency?.total_s ?? atS });
    const last = answer.answer ?? answer;
    change(run.aggregator, { ...figures(last), state: endState(last), text: answer.text });
    if (last.attempts?.length === 0) change(run.aggregator, { durationS: null, usage: null, costUsd: null });
    markSelected(run, last);
  },
  error(run, event) {
    Object.assign(run, { state: "failed", error: event.error, ledger: event.ledger ?? null });
    const failing = isBusy(run.aggregator) ? run.aggregator : null;
    halt(run);
    if (failing) change(failing, { state: "failed", error: event.error });
  },
  stopped(run) {
    run.state = "stopped";
    halt(run);
  },
};

function roster(run) {
  return JSON.stringify(agentsOf(run).map(({ agent, model, layer }) => [agent, model, layer]));
}

function agentAt(run, { layer, index }) {
  return layer > run.layers.length ? run.aggregator : run.layers[layer - 1]?.[index];
}

function change(agent, fields) {
  if (agent) Object.assign(agent, fields, { version: agent.version + 1 });
}

function write(agent, { text, reasoning }, atS) {
  if (!agent) return;
  const kind = reasoning ? "reasoning" : "text";
  agent[kind] += text;
  agent.startedS ??= atS;
  agent.firstTokenS ??= atS - agent.startedS;
  agent.state = reasoning ? "thinking" : "streaming";
  agent.version += 1;
}

function endState({ finish_reason: reason }) {
  return reason === "length" ? "cut off" : "done";
}

function figures(series) {
  return {
    durationS: series.duration_s,
    firstTokenS: series.first_token_s,
    usage: series.usage,
    costUsd: series.cost_usd,
    estimatedUsd: series.estimated_usd ?? 0,
    attempts: series.attempts ?? [],
  };
}

function markSelected(run, { selected }) {
  if (selected == null || !run.layers.length) return;
  const used = run.layers.at(-1).filter(({ state }) => state === "done" || state === "cut off");
  change(used[selected], { selected: true });
}

function halt(run) {
  for (const agent of agentsOf(run)) {
    if (isBusy(agent)) change(agent, { state: "stopped", durationS: run.elapsedS - agent.startedS });
  }
}
