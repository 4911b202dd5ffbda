// Money, time and counts as a person reads them; the same rules as in the terminal.

const GROUPED = new Intl.NumberFormat("en-US");

/** Return a whole number with thousands grouped. */
export function grouped(number) {
  return GROUPED.format(number);
}

/** Return a number with its noun: `1 call`, `1,200 calls`. */
export function count(number, noun) {
  return `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Return seconds with as many digits as matter: `85 ms`, `2.4 s`, `73 s`, `12 min 5 s`. */
export function seconds(duration) {
  if (duration < 0.9995) return `${Math.round(duration * 1000)} ms`;
  if (duration < 9.95) return `${duration.toFixed(1)} s`;
  if (duration < 119.5) return `${Math.round(duration)} s`;
  const whole = Math.round(duration);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Return US dollars: cents from ten cents on, two significant digits below, never rounded to nothing. */
export function usd(amount) {
  if (amount === 0) return "$0";
  if (amount < 0.000001) return "<$0.000001";
  if (amount >= 0.1)
    return `$${amount.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  return `$${amount.toFixed(1 - Math.floor(Math.log10(amount)))}`;
}

/** Return what something cost; an unknown price is said to be unknown, an estimated one is marked. */
export function cost(known, estimated = 0) {
  if (known == null) return "price unknown";
  return estimated ? `~${usd(known + estimated)}` : usd(known);
}

/** Return how many times as large `value` is as `other`: `1.8×`; empty if that makes no sense. */
export function ratio(value, other) {
  if (value == null || !other) return "";
  const times = value / other;
  return `${times >= 10 ? Math.round(times) : times.toFixed(times < 0.1 ? 2 : 1)}×`;
}

/** Return tokens as `in + out`, which cost differently: `1,200 + 300 tok`. */
export function tokens({ input_tokens: input, output_tokens: output }) {
  return `${grouped(input)} + ${grouped(output)} tok`;
}

/** Return about how many tokens a text of this length has, where nobody has counted yet. */
export function estimatedTokens(characters) {
  return Math.ceil(characters / 4);
}
