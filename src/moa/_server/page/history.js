// The runs of the past, kept in this browser: at most so many, at most so large, the oldest going first.

const NAME = "moa.history";
const COLLECTED = "moa.prompts";
const MOST_RUNS = 60;
const MOST_CHARACTERS = 3_000_000;
const VERSION = 1;

/** Return all records, the newest first. */
export function records() {
  try {
    const stored = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    return Array.isArray(stored) ? stored.filter(isRecord) : [];
  } catch {
    return [];
  }
}

/** Keep a session that has ended. Returns whether the browser had room for it. */
export function keep(session) {
  return write([recordOf(session), ...records()]);
}

/** Forget one record. */
export function forget(id) {
  write(records().filter((record) => record.id !== id));
}

/** Forget everything. */
export function forgetAll() {
  localStorage.removeItem(NAME);
}

/** Return whether a record's prompt is on the list for a prompts file. */
export function isCollected(id) {
  return collectedIds().includes(id);
}

/** Put a record's prompt on the list for a prompts file, or take it off. */
export function collect(id, wanted) {
  const known = new Set(records().map((record) => record.id));
  const others = collectedIds().filter((other) => other !== id && known.has(other));
  localStorage.setItem(COLLECTED, JSON.stringify(wanted ? [...others, id] : others));
}

/** Return a prompts file, JSON Lines as `moa eval` reads them: those of `before`, and those of the list that are new. */
export function promptsFile(before) {
  const lines = before.split("\n").filter((line) => line.trim());
  const fresh = records()
    .filter(({ id }) => isCollected(id))
    .map(({ request }) => JSON.stringify(promptRow(request)))
    .filter((line, index, all) => !lines.includes(line) && all.indexOf(line) === index);
  return { text: [...lines, ...fresh.reverse()].map((line) => `${line}\n`).join(""), added: fresh.length };
}

function promptRow({ prompt, system }) {
  if (!system) return { prompt };
  return {
    messages: [
      { role: "system", content: system },
      { role: "user", content: prompt },
    ],
  };
}

function collectedIds() {
  try {
    const stored = JSON.parse(localStorage.getItem(COLLECTED) ?? "[]");
    return Array.isArray(stored) ? stored : [];
  } catch {
    return [];
  }
}

/** Return all records as the text of a file. */
export function exported() {
  return JSON.stringify({ moa_history: VERSION, runs: records() }, null, 1);
}

/** Take in a file: an exported history, or the trace of a run. Returns how many runs were new. */
export function take(text) {
  const incoming = recordsIn(text);
  const known = new Set(records().map(({ id }) => id));
  const fresh = incoming.filter(({ id }) => !known.has(id));
  write([...fresh, ...records()].sort((one, other) => other.at.localeCompare(one.at)));
  return fresh.length;
}

/** Return a session's trace: JSON Lines, what was asked first, then every event with the second in which it came. */
export function traceOf(session) {
  const { id, at, request } = recordOf(session);
  const head = { type: "trace", version: VERSION, id, at, request };
  const events = session.runs.flatMap(({ run }, index) =>
    run.events.map((event) => (index ? { run: index, ...event } : event)),
  );
  return [head, ...events].map((line) => `${JSON.stringify(line)}\n`).join("");
}

function recordsIn(text) {
  const found = text.trimStart().startsWith('{"type":"trace"') ? [recordOfTrace(text)] : JSON.parse(text).runs;
  if (!Array.isArray(found) || !found.every(isRecord)) throw new Error("not a history and not a trace");
  return found;
}

function recordOfTrace(text) {
  const [head, ...events] = text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  const runs = [[], []];
  for (const { run = 0, ...event } of events) runs[run]?.push(event);
  return { id: head.id, at: head.at, request: head.request, runs: runs.map(compact) };
}

function isRecord(value) {
  return (
    typeof value?.id === "string" &&
    typeof value.at === "string" &&
    typeof value.request?.prompt === "string" &&
    typeof value.request.mixture?.aggregator?.model === "string" &&
    Array.isArray(value.request.mixture.layers) &&
    Array.isArray(value.runs) &&
    value.runs.every((events) => Array.isArray(events) && events.every((event) => typeof event?.type === "string"))
  );
}

function recordOf({ id, at, request, runs }) {
  return { id, at, request, runs: runs.map(({ run }) => compact(run.events)) };
}

/** Return events without what others of them repeat: pieces of texts that came whole later, and layers' proposals. */
export function compact(events) {
  const open = new Map();
  const kept = [];
  for (const event of events) {
    const place = `${event.type} ${event.layer} ${event.index} ${Boolean(event.reasoning)}`;
    if (event.type.endsWith("_delta") && open.has(place)) open.get(place).text += event.text;
    else kept.push(slim(event, open, place));
    if (event.type === "proposal_restarted" || event.type === "proposal_finished") close(open, event.proposal ?? event);
  }
  const whole = wholeTexts(events);
  return kept.filter((event) => !whole.has(placeOf(event)) || event.reasoning);
}

function slim(event, open, place) {
  if (event.type.endsWith("_delta")) {
    const copy = { ...event };
    open.set(place, copy);
    return copy;
  }
  if (event.type === "layer_finished") return { ...event, layer: { ...event.layer, proposals: [] } };
  if (event.type === "run_finished")
    return { ...event, answer: { ...event.answer, layers: [], text: event.answer.text } };
  return event;
}

function close(open, { layer, index }) {
  for (const reasoning of [true, false]) open.delete(`proposal_delta ${layer} ${index} ${reasoning}`);
}

function wholeTexts(events) {
  const used = events.filter(({ type, proposal }) => type === "proposal_finished" && proposal.status === "used");
  const places = used.map(({ proposal }) => `proposal_delta ${proposal.layer} ${proposal.index}`);
  if (events.some(({ type }) => type === "run_finished")) places.push("answer_delta undefined undefined");
  return new Set(places);
}

function placeOf({ type, layer, index }) {
  return `${type} ${layer} ${index}`;
}

function write(all) {
  let kept = all.slice(0, MOST_RUNS);
  for (;;) {
    const text = JSON.stringify(kept);
    if (text.length <= MOST_CHARACTERS && stored(text)) return kept.length > 0 || all.length === 0;
    if (!kept.length) return false;
    kept = kept.slice(0, Math.floor(kept.length * 0.8));
  }
}

function stored(text) {
  try {
    localStorage.setItem(NAME, text);
    return true;
  } catch {
    return false;
  }
}
