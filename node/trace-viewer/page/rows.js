// What every question about rows starts from: when each ended, and which pieces of the run touch a span of time.

import { STATE } from './decode.js';

/** Rows are summed up by pieces of this many, so that a frame looks only into the pieces it shows. */
export const CHUNK_ROWS = 256;

/**
 * Adds to the model `end` (ns), `first`, `last`, `disorder` (ns by which rows are out of order at most), and per
 * piece the earliest `chunkFrom` and the latest `chunkUntil`. Rows are only nearly in order, and a long handling
 * reaches far beyond its sending: with both bounds per piece neither matters to a search.
 */
export function indexRows(model) {
  const { rows, t, wait, busy, late } = model;
  const chunks = Math.ceil(rows / CHUNK_ROWS);
  const end = model.end?.length >= rows ? model.end : new Float64Array(Math.ceil(rows * (model.live ? 1.5 : 1)));
  const chunkFrom = new Float64Array(chunks).fill(Infinity);
  const chunkUntil = new Float64Array(chunks).fill(-Infinity);
  let first = Infinity;
  let last = -Infinity;
  let latest = -Infinity;
  let disorder = 0;
  for (let row = 0; row < rows; row += 1) {
    const at = t[row];
    const until = at + (wait[row] || 0) + (busy[row] || 0) + (late[row] || 0);
    end[row] = until;
    const chunk = row >> 8;
    if (at < chunkFrom[chunk]) chunkFrom[chunk] = at;
    if (until > chunkUntil[chunk]) chunkUntil[chunk] = until;
    if (at < first) first = at;
    if (until > last) last = until;
    if (at > latest) latest = at;
    else if (latest - at > disorder) disorder = latest - at;
  }
  for (const mark of model.marks) {
    first = Math.min(first, mark.from ?? mark.t);
    last = Math.max(last, mark.until ?? mark.t);
  }
  if (!(last > first)) { first = Number.isFinite(first) ? first : 0; last = first + 1e6; }
  Object.assign(model, { end, chunkFrom, chunkUntil, first, last, disorder });
  return model;
}

/** Calls `visit(firstRow, endRow)` for each piece that may touch `from..until` and of which something is shown. */
export function eachChunk(model, shown, from, until, visit) {
  const { chunkFrom, chunkUntil, rows } = model;
  for (let chunk = 0; chunk < chunkFrom.length; chunk += 1) {
    if (chunkFrom[chunk] <= until && chunkUntil[chunk] >= from && shown.chunkCount[chunk] > 0) {
      visit(chunk * CHUNK_ROWS, Math.min(rows, (chunk + 1) * CHUNK_ROWS));
    }
  }
}

/** The shown rows that touch `from..until`, in order of rows; null when they are more than `limit`. */
export function rowsWithin(model, shown, from, until, limit) {
  const found = [];
  let over = false;
  eachChunk(model, shown, from, until, (start, stop) => {
    for (let row = start; row < stop && !over; row += 1) {
      if (shown.mask[row] && model.t[row] <= until && model.end[row] >= from) {
        if (found.length >= limit) over = true;
        else found.push(row);
      }
    }
  });
  return over ? null : found;
}

/** The row with this message id, or -1. */
export function rowOfId(model, id) {
  const row = model.id.indexOf(id);
  return row < model.rows ? row : -1;
}

/** The rows that this row caused, at most `limit`. */
export function effectsOf(model, row, limit) {
  const effects = [];
  for (let other = 0; other < model.rows && effects.length < limit; other += 1) {
    if (model.cause[other] === row) effects.push(other);
  }
  return effects;
}

/** The row, its cause, and so on up to the trigger; `complete` is false where the trace does not reach. */
export function causesOf(model, row) {
  const chain = [];
  const seen = new Set();
  let at = row;
  while (at >= 0 && at < model.rows && !seen.has(at)) {
    seen.add(at);
    chain.push(at);
    at = model.cause[at];
  }
  return { chain, complete: at === -1 };
}

/** What was in the mailbox of `lane` at `moment`: sent before, and its handling had not begun. */
export function mailboxAt(model, lane, moment) {
  const waiting = [];
  for (let row = 0; row < model.rows; row += 1) {
    if (model.to[row] !== lane || model.kind[row] !== 0 || model.t[row] > moment) continue;
    const begun = model.state[row] === STATE.inFlight || Number.isNaN(model.wait[row])
      ? Infinity : model.t[row] + model.wait[row];
    if (begun > moment) waiting.push(row);
  }
  return waiting;
}

/** Nanoseconds of handling and of asynchronous work; NaN when neither is known. */
export function tookOf(model, row) {
  const busy = model.busy[row];
  const late = model.late[row];
  return Number.isNaN(busy) && Number.isNaN(late) ? NaN : (busy || 0) + (late || 0);
}
