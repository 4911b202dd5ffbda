// What a run took in all, beside what the single model took.

import { element } from "./dom.js";
import { cost, grouped, ratio, seconds } from "./numbers.js";
import { isRunning } from "./run.js";

/** Return the totals of `[{title, run}]` as a table; the second run is what the first is compared with. */
export function totals(runs) {
  const figures = runs.map(({ run }) => figuresOf(run));
  const compared = runs.length > 1;
  const head = compared
    ? element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("td", {}),
          ...runs.map(({ title }) => element("th", { scope: "col" }, title)),
          element("th", { scope: "col" }, "Ratio"),
        ),
      )
    : null;
  const rows = ROWS.map((row) => rowOf(row, figures, compared)).filter(Boolean);
  return element(
    "table",
    { class: compared ? "totals compared" : "totals tiles" },
    element("caption", { class: "hidden-visually" }, "Totals"),
    head,
    element("tbody", {}, ...rows),
  );
}

const ROWS = [
  { name: "Time", value: (figures) => figures.totalS, show: seconds },
  { name: "First token", value: (figures) => figures.firstS, show: seconds },
  {
    name: "Cost",
    value: (figures) => figures.costUsd,
    show: (value, figures) => cost(value, figures.estimatedUsd),
    always: true,
  },
  { name: "Tokens in", value: (figures) => figures.input, show: grouped },
  { name: "Tokens out", value: (figures) => figures.output, show: grouped },
  { name: "Calls", value: (figures) => figures.calls, show: grouped },
  { name: "Critical path", value: (figures) => figures.criticalS, show: seconds },
];

function rowOf({ name, value, show, always }, figures, compared) {
  const values = figures.map(value);
  if (!always && values.every((one) => one == null)) return null;
  const settled = figures.every(({ ended }) => ended);
  const cells = values.map((one, index) =>
    element(
      "td",
      { class: "number" },
      one === undefined
        ? figures[index].ended
          ? "–"
          : "…"
        : one === null && !always
          ? "–"
          : show(one, figures[index]),
    ),
  );
  const times = compared
    ? element("td", { class: "number quiet-text" }, settled ? ratio(values[0], values[1]) : "")
    : null;
  return element("tr", {}, element("th", { scope: "row" }, name), ...cells, times);
}

function figuresOf(run) {
  const ledger = run.ledger;
  const latency = run.answer?.latency;
  const first =
    run.aggregator.startedS !== null && run.aggregator.firstTokenS !== null
      ? run.aggregator.startedS + run.aggregator.firstTokenS
      : null;
  return {
    ended: !isRunning(run),
    totalS: latency?.total_s ?? run.elapsedS,
    firstS: latency?.first_token_s ?? first ?? undefined,
    criticalS: latency?.critical_path_s,
    costUsd: ledger ? ledger.cost_usd : undefined,
    estimatedUsd: ledger?.estimated_usd ?? 0,
    input: ledger?.usage?.input_tokens,
    output: ledger?.usage?.output_tokens,
    calls: ledger?.calls?.length,
  };
}
