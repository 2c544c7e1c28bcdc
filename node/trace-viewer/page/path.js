// The critical path: the chain of parents of the last hop that says that a block is on disk, and where its time went.

import { STATE } from './decode.js';

// A header that is on disk is no block yet.
function isOnDisk(model, mask, row) {
  if (!model.types[model.type[row]].endsWith('::Persisted')) return false;
  const { parent } = parentHop(model, mask, row);
  return parent >= 0 && /::(Bodies|Receipts|Canonical)$/.test(model.types[model.type[parent]]);
}

/** The last hop that says that a block is on disk; without one, the hop that ended last. -1 for no hops. */
export function lastToEnd(model, { hops, mask }) {
  let best = -1;
  let bestRank = -1;
  for (const row of hops) {
    const ended = model.state[row] !== STATE.inFlight;
    const rank = (isOnDisk(model, mask, row) ? 2 : 0) + (ended ? 1 : 0);
    if (rank > bestRank || (rank === bestRank && model.end[row] > model.end[best])) { best = row; bestRank = rank; }
  }
  return best;
}

/** The nearest hop up the causes of a hop, else its trigger: `{parent, via}`, rows passed over in `via`; -1 for none. */
export function parentHop(model, mask, row) {
  const seen = new Set([row]);
  let via = 0;
  for (let at = model.cause[row]; at >= 0 && !seen.has(at); at = model.cause[at]) {
    if (mask[at]) return { parent: at, via };
    seen.add(at);
    via += 1;
  }
  const root = model.root[row];
  return root >= 0 && root !== row ? { parent: root, via } : { parent: -1, via: 0 };
}

export const PARTS = ['queue', 'handling', 'asynchronous', 'network', 'others'];

/**
 * Hop by hop from the trigger: `{row, via, total}` and the five PARTS in ns; `totals` of the same, and `complete`, which
 * is false when the trace does not reach back to the trigger. `via` is how many rows lie between a hop and its parent.
 */
export function criticalPath(model, followed) {
  const chain = [];
  const seen = new Set();
  for (let row = lastToEnd(model, followed); row >= 0 && !seen.has(row);) {
    seen.add(row);
    const { parent, via } = parentHop(model, followed.mask, row);
    chain.push({ row, via });
    row = parent;
  }
  chain.reverse();
  const steps = chain.map(({ row, via }, at) => ({ ...splitHop(model, row, chain[at + 1]), via }));
  const totals = { queue: 0, handling: 0, asynchronous: 0, network: 0, others: 0, total: 0 };
  for (const step of steps) for (const part of Object.keys(totals)) totals[part] += step[part];
  return { steps, totals, complete: chain.length === 0 || model.cause[chain[0].row] === -1 };
}

function splitHop(model, row, next) {
  const wait = model.wait[row] || 0;
  const busy = model.busy[row] || 0;
  const whole = next === undefined
    ? wait + busy + (model.late[row] || 0)
    : Math.max(0, model.t[next.row] - model.t[row]);
  const queue = Math.min(wait, whole);
  const handling = Math.min(busy, whole - queue);
  const rest = Math.max(0, whole - queue - handling);
  // The last hop is charged with what is its own, wherever that is spent.
  const owner = next?.via > 0 ? 'others' : next && model.to[row] >= model.actors ? 'network' : 'asynchronous';
  const step = { row, queue, handling, asynchronous: 0, network: 0, others: 0, total: whole };
  step[owner] = rest;
  return step;
}
