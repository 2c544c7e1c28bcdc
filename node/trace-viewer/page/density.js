// Summaries per column of pixels: used where single messages would be too many to tell apart.

import { NO_LANE } from './decode.js';
import { eachChunk } from './rows.js';

const FINE_COLUMNS = 16384;
// Above this many rows a frame sums up columns made once, instead of rows.
const DIRECT_ROWS = 150000;

function emptyBins(lanes, columns, from, until) {
  const size = lanes * columns;
  return {
    columns, from, until, busy: new Float32Array(size), count: new Uint32Array(size), bad: new Uint16Array(size),
    longest: new Float32Array(size), type: new Uint16Array(size), flow: new Map(),
  };
}

function flowOf(bins, pair) {
  let flow = bins.flow.get(pair);
  if (!flow) bins.flow.set(pair, flow = new Uint32Array(bins.columns));
  return flow;
}

/** Per lane and column: ns of handling, messages, failures, the type handled longest; and messages from lane to lane. */
export function binRows(model, shown, from, until, columns) {
  const bins = emptyBins(model.lanes.length, columns, from, until);
  const { t, wait, busy, bad, state, type, to, end } = model;
  const scale = columns / (until - from);
  const width = 1 / scale;
  eachChunk(model, shown, from, until, (start, stop) => {
    for (let row = start; row < stop; row += 1) {
      if (!shown.mask[row] || t[row] > until || end[row] < from) continue;
      const base = to[row] * columns;
      const sent = Math.floor((t[row] - from) * scale);
      if (sent >= 0 && sent < columns) {
        bins.count[base + sent] += 1;
        if (bad[row] || state[row] >= 2) bins.bad[base + sent] += 1;
        if (model.from[row] !== NO_LANE) flowOf(bins, model.from[row] * 256 + to[row])[sent] += 1;
      }
      const spent = busy[row];
      if (!(spent > 0)) continue;
      const begun = t[row] + (wait[row] || 0);
      const first = Math.max(0, Math.floor((begun - from) * scale));
      const last = Math.min(columns - 1, Math.floor((begun + spent - from) * scale));
      for (let at = first; at <= last; at += 1) {
        const part = Math.min(begun + spent, from + (at + 1) * width) - Math.max(begun, from + at * width);
        bins.busy[base + at] += part;
        if (part > bins.longest[base + at]) { bins.longest[base + at] = part; bins.type[base + at] = type[row]; }
      }
    }
  });
  return bins;
}

/** The same for a view, from columns over the whole run that are made once per filter when rows are many. */
export function binView(model, shown, from, until, columns) {
  let rows = 0;
  eachChunk(model, shown, from, until, (start) => { rows += shown.chunkCount[start >> 8]; });
  const whole = model.last - model.first;
  if (rows < DIRECT_ROWS || (until - from) / columns < (whole / FINE_COLUMNS) * 2) {
    return binRows(model, shown, from, until, columns);
  }
  shown.fine ??= binRows(model, shown, model.first, model.last, FINE_COLUMNS);
  return gather(shown.fine, model.lanes.length, from, until, columns);
}

function gather(fine, lanes, from, until, columns) {
  const bins = emptyBins(lanes, columns, from, until);
  const fineWidth = (fine.until - fine.from) / fine.columns;
  const start = Math.max(0, Math.floor((from - fine.from) / fineWidth));
  const stop = Math.min(fine.columns, Math.ceil((until - fine.from) / fineWidth));
  const scale = columns / (until - from);
  for (let source = start; source < stop; source += 1) {
    const at = Math.floor((fine.from + (source + 0.5) * fineWidth - from) * scale);
    if (at < 0 || at >= columns) continue;
    for (let lane = 0; lane < lanes; lane += 1) {
      const into = lane * columns + at;
      const out = lane * fine.columns + source;
      bins.busy[into] += fine.busy[out];
      bins.count[into] += fine.count[out];
      bins.bad[into] += fine.bad[out];
      if (fine.longest[out] > bins.longest[into]) { bins.longest[into] = fine.longest[out]; bins.type[into] = fine.type[out]; }
    }
    for (const [pair, flow] of fine.flow) if (flow[source]) flowOf(bins, pair)[at] += flow[source];
  }
  return bins;
}

/**
 * Depth of each bounded port per column: `Map(p, Float32Array)` of the deepest seen in a column, carried on where
 * nothing was seen. Filters do not change what was in a mailbox, so all rows count.
 */
export function depthView(model, from, until, columns) {
  const whole = model.last - model.first;
  if (model.rows > DIRECT_ROWS && (until - from) / columns >= (whole / FINE_COLUMNS) * 2) {
    model.fineDepth ??= depthRows(model, model.first, model.last, FINE_COLUMNS);
    return gatherDepth(model.fineDepth, model, from, until, columns);
  }
  return depthRows(model, from, until, columns);
}

function depthRows(model, from, until, columns) {
  const strips = new Map();
  const scale = columns / (until - from);
  const lastSeen = new Map();
  const note = (port, moment, depth) => {
    let strip = strips.get(port);
    if (!strip) {
      strips.set(port, strip = new Float32Array(columns).fill(-1));
      lastSeen.set(port, { before: -Infinity, depth: 0, ends: new Float32Array(columns).fill(-1), at: new Float64Array(columns) });
    }
    const seen = lastSeen.get(port);
    const at = Math.floor((moment - from) * scale);
    if (at < 0) {
      if (moment > seen.before) { seen.before = moment; seen.depth = depth; }
    } else if (at < columns) {
      if (depth > strip[at]) strip[at] = depth;
      if (seen.ends[at] < 0 || moment >= seen.at[at]) { seen.ends[at] = depth; seen.at[at] = moment; }
    }
  };
  // What was last known before the view is found a bounded way back.
  const reach = from - Math.max((until - from) * 0.5, 1e9);
  const any = { chunkCount: allOnes(model) };
  eachChunk(model, any, reach, until, (start, stop) => {
    for (let row = start; row < stop; row += 1) {
      const port = model.port[row];
      if (port === 65535) continue;
      note(port, model.t[row], model.depth[row]);
      if (model.state[row] !== 0) note(port, model.end[row], model.depth_after[row]);
    }
  });
  for (const [port, strip] of strips) {
    const seen = lastSeen.get(port);
    let carried = seen.depth;
    for (let at = 0; at < columns; at += 1) {
      if (strip[at] < 0) strip[at] = carried;
      else { strip[at] = Math.max(strip[at], carried); carried = seen.ends[at]; }
    }
  }
  return strips;
}

function allOnes(model) {
  if (model.ones?.length !== model.chunkFrom.length) model.ones = new Uint8Array(model.chunkFrom.length).fill(1);
  return model.ones;
}

function gatherDepth(fine, model, from, until, columns) {
  const strips = new Map();
  const fineWidth = (model.last - model.first) / FINE_COLUMNS;
  for (const [port, source] of fine) {
    const strip = new Float32Array(columns);
    for (let at = 0; at < columns; at += 1) {
      const begin = Math.floor((from + ((until - from) * at) / columns - model.first) / fineWidth);
      const stop = Math.floor((from + ((until - from) * (at + 1)) / columns - model.first) / fineWidth);
      for (let place = Math.max(0, begin); place <= stop && place < FINE_COLUMNS; place += 1) strip[at] = Math.max(strip[at], source[place]);
    }
    strips.set(port, strip);
  }
  return strips;
}
