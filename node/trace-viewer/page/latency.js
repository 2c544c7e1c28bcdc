// Latencies per message: exact percentiles by selection, and the slowest instances.

export const METRICS = { wait: 'wait', busy: 'handling', late: 'asynchronous' };
const SHARES = [0.5, 0.95, 0.99];

/** Puts the k-th smallest of `values[from..until)` at its place, smaller ones before it, and returns it. */
export function selectKth(values, from, until, k) {
  let low = from;
  let high = until - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const pivot = median(values[low], values[middle], values[high]);
    let left = low;
    let right = high;
    while (left <= right) {
      while (values[left] < pivot) left += 1;
      while (values[right] > pivot) right -= 1;
      if (left <= right) {
        const held = values[left];
        values[left] = values[right];
        values[right] = held;
        left += 1;
        right -= 1;
      }
    }
    if (k <= right) high = right;
    else if (k >= left) low = left;
    else break;
  }
  return values[k];
}

function median(a, b, c) {
  if (a < b) return b < c ? b : a < c ? c : a;
  return a < c ? a : b < c ? c : b;
}

/** p50, p95, p99 (nearest rank) and the largest of `values[from..until)`, which is reordered; NaN when empty. */
export function percentiles(values, from, until) {
  const count = until - from;
  if (count === 0) return { p50: NaN, p95: NaN, p99: NaN, max: NaN };
  const ranks = SHARES.map((share) => from + Math.max(0, Math.ceil(share * count) - 1));
  const max = selectKth(values, from, until, until - 1);
  const p99 = selectKth(values, from, until, ranks[2]);
  const p95 = selectKth(values, from, ranks[2] + 1, ranks[1]);
  const p50 = selectKth(values, from, ranks[1] + 1, ranks[0]);
  return { p50, p95, p99, max };
}

/** One entry per message that has shown rows: `{type, count, bad, wait, busy, late}`, the last three percentiles. */
export function latencyByType(model, shown) {
  const types = model.types.length;
  const counts = new Uint32Array(types);
  const bad = new Uint32Array(types);
  for (let row = 0; row < shown.mask.length; row += 1) {
    if (!shown.mask[row]) continue;
    counts[model.type[row]] += 1;
    if (model.bad[row] || model.state[row] >= 2) bad[model.type[row]] += 1;
  }
  const starts = new Uint32Array(types);
  for (let type = 1; type < types; type += 1) starts[type] = starts[type - 1] + counts[type - 1];
  const table = [];
  for (let type = 0; type < types; type += 1) if (counts[type]) table.push({ type, count: counts[type], bad: bad[type] });
  const values = new Float32Array(shown.count);
  for (const metric of Object.keys(METRICS)) {
    const next = starts.slice();
    const column = model[metric];
    for (let row = 0; row < shown.mask.length; row += 1) {
      if (shown.mask[row] && column[row] === column[row]) values[next[model.type[row]]++] = column[row];
    }
    for (const entry of table) entry[metric] = percentiles(values, starts[entry.type], next[entry.type]);
  }
  return table;
}

/** Where a row stands by a metric; `all` is everything from sending to end. NaN when unknown. */
export function metricOf(model, row, metric) {
  return metric === 'all' ? model.end[row] - model.t[row] : model[metric][row];
}

/** The slowest shown rows, slowest first, at most `limit`; of one type, or of all when `type` is -1. */
export function slowestRows(model, shown, metric, type, limit) {
  const rows = [];
  const values = [];
  for (let row = 0; row < shown.mask.length; row += 1) {
    if (!shown.mask[row] || (type >= 0 && model.type[row] !== type)) continue;
    const value = metricOf(model, row, metric);
    if (value === value) { rows.push(row); values.push(value); }
  }
  let least = -Infinity;
  if (rows.length > limit) {
    const scratch = Float64Array.from(values);
    least = selectKth(scratch, 0, scratch.length, scratch.length - limit);
  }
  return rows
    .filter((_, at) => values[at] >= least)
    .sort((a, b) => metricOf(model, b, metric) - metricOf(model, a, metric) || a - b)
    .slice(0, limit);
}
