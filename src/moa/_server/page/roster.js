// Who takes part in a mixture: the same names that the engine gives, for the picture before a run has begun.

/** Return `{name, layers: [[{agent, model, settings}]], aggregator: {agent, model, settings}}`. */
export function rosterOf(mixture) {
  return {
    name: mixture.name ?? "mixture",
    layers: (mixture.layers ?? []).map((layer) => seatsOf(layer.proposers ?? [])),
    aggregator: { ...seatOf(mixture.aggregator ?? {}), agent: mixture.aggregator?.name ?? "aggregator" },
  };
}

/** Return the mixture that is one model alone; the agent's other fields are those of `rest` that have a value. */
export function alone(model, rest = {}) {
  const fields = Object.fromEntries(Object.entries(rest).filter(([, value]) => value != null));
  return { name: model, layers: [], aggregator: { model, ...fields } };
}

/** Return the prices that a mixture sets itself, as pairs of model and price. */
export function pricesIn(mixture) {
  const agents = [...(mixture.layers ?? []).flatMap((layer) => layer.proposers), mixture.aggregator];
  return agents.filter((agent) => agent.price).map((agent) => [agent.model, agent.price]);
}

/** Return a model reference's two parts: the endpoint and the model's id. */
export function partsOf(reference) {
  const slash = reference.indexOf("/");
  return slash < 0 ? ["", reference] : [reference.slice(0, slash), reference.slice(slash + 1)];
}

function seatsOf(proposers) {
  const seats = proposers.flatMap((agent) =>
    Array.from({ length: Math.min(Math.max(agent.samples ?? 1, 1), 64) }, () => seatOf(agent)),
  );
  const seen = new Map();
  return seats.map((seat) => {
    const number = (seen.get(seat.agent) ?? 0) + 1;
    seen.set(seat.agent, number);
    return number === 1 ? seat : { ...seat, agent: `${seat.agent}#${number}` };
  });
}

function seatOf(agent) {
  const { model = "", name, temperature, max_tokens: most } = agent;
  const settings = [temperature != null && `temperature ${temperature}`, most != null && `at most ${most} tokens`];
  return { agent: name ?? partsOf(model)[1], model, settings: settings.filter(Boolean).join(", ") };
}
