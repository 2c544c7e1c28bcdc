// Filters remove: what does not pass is not drawn, counted or listed.

import { STATE, NO_LANE } from './decode.js';
import { CHUNK_ROWS } from './rows.js';

export const OUTCOMES = {
  all: 'any outcome', bad: 'failed', dropped: 'dropped', flight: 'in flight', panicked: 'panicked',
};

/** A filter that lets everything pass. */
export function openFilter() {
  return { lanes: [], types: [], outcome: 'all', took: 0, waited: 0, depth: 0, key: '' };
}

/** How many of the filter's conditions say anything. */
export function conditionsOf(filter) {
  return filter.lanes.length + filter.types.length + (filter.outcome !== 'all') + (filter.took > 0)
    + (filter.waited > 0) + (filter.depth > 0) + (filter.key !== '');
}

/**
 * Which rows pass: `mask` per row, `count`, `chunkCount` per piece. `lanes` and `types` of the filter are hidden
 * names; `within` are masks (or null) of which each must let the row pass.
 */
export function applyFilter(model, filter, within) {
  const { rows, from, to, type, wait, busy, late, depth } = model;
  const mask = new Uint8Array(rows);
  const chunkCount = new Uint16Array(Math.ceil(rows / CHUNK_ROWS));
  const laneShown = new Uint8Array(256).fill(1);
  model.lanes.forEach((name, lane) => { laneShown[lane] = filter.lanes.includes(name) ? 0 : 1; });
  laneShown[NO_LANE] = 1;
  const hidden = new Set(filter.types);
  const typeShown = Uint8Array.from(model.types, (name) => (hidden.has(name) ? 0 : 1));
  const outcome = outcomeTest(model, filter.outcome);
  const masks = within.filter(Boolean);
  const { took, waited } = filter;
  let count = 0;
  for (let row = 0; row < rows; row += 1) {
    if (!laneShown[to[row]] || !laneShown[from[row]] || !typeShown[type[row]]) continue;
    if (took > 0 && !((busy[row] || 0) + (late[row] || 0) >= took)) continue;
    if (waited > 0 && !(wait[row] >= waited)) continue;
    if (filter.depth > 0 && depth[row] < filter.depth) continue;
    if (outcome && !outcome(row)) continue;
    let passes = true;
    for (let at = 0; at < masks.length && passes; at += 1) passes = masks[at][row] === 1;
    if (!passes) continue;
    mask[row] = 1;
    chunkCount[row >> 8] += 1;
    count += 1;
  }
  return { mask, count, chunkCount };
}

function outcomeTest(model, outcome) {
  const { state, bad } = model;
  if (outcome === 'bad') return (row) => bad[row] === 1 || state[row] >= STATE.dropped;
  if (outcome === 'dropped') return (row) => state[row] === STATE.dropped;
  if (outcome === 'flight') return (row) => state[row] === STATE.inFlight;
  if (outcome === 'panicked') return (row) => state[row] === STATE.panicked;
  return null;
}
