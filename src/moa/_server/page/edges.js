// The lines of the picture: from the prompt through the layers into the aggregator.

import { drawing } from "./dom.js";
import { isBusy } from "./run.js";

const LOST = new Set(["failed", "abandoned", "stopped"]);

/**
 * Lines behind the cards. Rows of the picture that stand side by side are joined by curves through a common point;
 * cards that stand one below the other hang on a rail at their left.
 */
export class Edges {
  constructor(picture) {
    this.picture = picture;
    this.svg = drawing("svg", { class: "edges", "aria-hidden": "true", focusable: "false" });
    this.lines = [];
  }

  /** Redraw the lines; `rows` has for each row of the graph `[{node, agent}]`, the prompt first. */
  lay(rows) {
    const box = this.picture.getBoundingClientRect();
    this.svg.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
    const places = rows.map((row) =>
      row.map(({ node, agent }) => ({ agent, ...within(node.getBoundingClientRect(), box) })),
    );
    const narrow = places.some((row) => row.length > 1 && row.every(({ x }) => Math.abs(x - row[0].x) < 2));
    this.lines = places.slice(1).flatMap((row, index) => (narrow ? railLines : curvedLines)(places[index], row));
    this.svg.replaceChildren(...this.lines.map(({ path }) => path));
  }

  /** Colour the lines by how their agents stand. */
  draw(run) {
    for (const { path, from, to } of this.lines) {
      const state = stateOf(run, from, to);
      if (path.dataset.state !== state) path.dataset.state = state;
    }
  }
}

function within(rect, box) {
  return {
    x: rect.left - box.left + rect.width / 2,
    left: rect.left - box.left,
    top: rect.top - box.top,
    bottom: rect.bottom - box.top,
    middle: (rect.top + rect.bottom) / 2 - box.top,
  };
}

/** `from` or `to` is missing where a line belongs to several agents. */
function line(d, from, to) {
  return { path: drawing("path", { d }), from, to };
}

function curvedLines(above, below) {
  const junction = {
    x: below.length === 1 ? below[0].x : above.length === 1 ? above[0].x : mean(above.map(({ x }) => x)),
    y: 0,
  };
  const bottom = Math.max(...above.map((place) => place.bottom));
  const top = Math.min(...below.map((place) => place.top));
  junction.y = above.length === 1 ? bottom : below.length === 1 ? top : (bottom + top) / 2;
  const ins =
    above.length === 1
      ? []
      : above.map((place) =>
          line(
            curve(place.x, place.bottom, junction.x, junction.y),
            place.agent,
            below.length === 1 ? below[0].agent : null,
          ),
        );
  const outs =
    below.length === 1 && above.length > 1
      ? []
      : below.map((place) =>
          line(
            curve(junction.x, junction.y, place.x, place.top),
            above.length === 1 ? above[0].agent : null,
            place.agent,
          ),
        );
  return [...ins, ...outs];
}

function mean(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

function curve(x1, y1, x2, y2) {
  const middle = (y1 + y2) / 2;
  return `M${x1} ${y1} C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}`;
}

function railLines(above, below) {
  const rail = 7;
  const start = above.at(-1);
  const ins =
    above.length === 1 && above[0].agent === null
      ? []
      : above.map((place) =>
          line(
            `M${place.left} ${place.middle} H${rail + 8} Q${rail} ${place.middle} ${rail} ${place.middle + 8} V${start.bottom + 8}`,
            place.agent,
            null,
          ),
        );
  const begin = above[0].agent === null ? start.middle : start.bottom;
  const outs = below.map((place) =>
    line(
      `M${rail} ${begin} V${place.middle - 8} Q${rail} ${place.middle} ${rail + 8} ${place.middle} H${place.left}`,
      null,
      place.agent,
    ),
  );
  return [...ins, ...outs];
}

function stateOf(run, from, to) {
  if (run.state === "idle") return "idle";
  if (from && LOST.has(from.state)) return "lost";
  if (to && isBusy(to)) return "flowing";
  if (from ? from.durationS !== null : to && to.startedS !== null) return "done";
  return "idle";
}
