// The server, as the page sees it. Every failure is a Fault: a code, a sentence, and where the server said it, a place.

import { eventsOf } from "./sse.js";

/** What went wrong, in the server's words where it had any. */
export class Fault extends Error {
  constructor({ code = "error", message, key = null, line = null, status = null }) {
    super(message);
    Object.assign(this, { code, key, line, status });
  }
}

const KEY_NAME = "moa.key";

/** Remember the API key until this tab is closed. */
export function useKey(key) {
  sessionStorage.setItem(KEY_NAME, key);
}

/** Return the mixtures: `[{name, description, mixture, layers, aggregator}]`. */
export async function mixtures() {
  const found = await json("/api/mixtures");
  return Array.isArray(found) ? found : found.mixtures;
}

/** Return the references of the single models, in the server's order. */
export async function models() {
  const found = await json("/v1/models");
  return found.data.map((model) => model.id).filter((id) => !id.startsWith("moa/"));
}

/** Return the references that endpoints list beyond those that are served; empty where requests may not name them. */
export async function otherModels() {
  return (await json("/api/models")).others;
}

/** Return a mixture's YAML. */
export async function yamlOf(mixture) {
  return (await json("/api/yaml", { mixture })).yaml;
}

/** Return the mixture that a YAML text holds, checked; throws a Fault with key and line. */
export async function checked(yaml) {
  const found = await json("/api/check", { yaml });
  if (found.error) throw new Fault({ ...found.error, message: withoutPlace(found.error) });
  return found.mixture.mixture;
}

/** Yield the events of a run; aborting the signal stops the run. */
export async function* run(request, signal) {
  const response = await send("/api/runs", request, signal);
  yield* eventsOf(response);
}

async function json(path, body) {
  const response = await send(path, body);
  return response.json();
}

async function send(path, body, signal) {
  const response = await answered(path, options(body, signal));
  if (!response.ok) throw await faultOf(response);
  return response;
}

async function answered(path, request) {
  try {
    return await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault({ code: "unreachable", message: "The server can’t be reached. Is moa serve still running?" });
  }
}

function options(body, signal) {
  const key = sessionStorage.getItem(KEY_NAME);
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const shared = { signal, credentials: "same-origin", cache: "no-store" };
  if (body === undefined) return { ...shared, headers };
  return {
    ...shared,
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(body),
  };
}

async function faultOf(response) {
  const body = await response.json().catch(() => ({}));
  const error = body.error ?? {};
  return new Fault({
    code: error.code ?? `http_${response.status}`,
    message: withoutPlace(error) ?? `The server answered with status ${response.status}.`,
    key: error.key ?? error.param,
    line: error.line,
    status: response.status,
  });
}

/** The message alone: its place is shown where it belongs. */
function withoutPlace({ message, key, param }) {
  const place = `${key ?? param}: `;
  return message?.startsWith(place) ? message.slice(place.length) : message;
}
