// The ladder: lanes, handling, arrows, mailbox depth, marks; on one canvas, drawn anew for each frame.

import { STATE, NO_LANE } from './decode.js';
import { binView, depthView } from './density.js';
import { rowsWithin } from './rows.js';
import { AXIS_PX, layOut, tickStep } from './scene.js';
import { textOn, typeColour } from './colours.js';
import { formatCount, formatMoment, formatSpan, shortName } from './text.js';

/** More arrows than this are shown as density. */
export const EXACT_ARROWS = 5000;
const COLUMN_PX = 2;

/** Draws a frame and returns what lies where, for the pointer. */
export function drawLadder(ctx, app, width, height) {
  const { model, view, shown, colours } = app;
  const scene = layOut(model, view, width, height);
  scene.rows = rowsWithin(model, shown, view.from, view.until, EXACT_ARROWS);
  scene.columns = Math.max(1, Math.floor((width - scene.gutter) / COLUMN_PX));
  ctx.fillStyle = colours.panel;
  ctx.fillRect(0, 0, width, scene.height);
  drawLanes(ctx, app, scene);
  scene.depths = depthView(model, view.from, view.until, scene.columns);
  drawDepths(ctx, app, scene);
  ctx.save();
  ctx.beginPath();
  ctx.rect(scene.gutter, 0, width - scene.gutter, scene.height);
  ctx.clip();
  drawGaps(ctx, app, scene);
  if (!scene.rows) drawDensity(ctx, app, scene, scene.bins = binView(model, shown, view.from, view.until, scene.columns));
  else drawArrows(ctx, app, scene);
  drawPath(ctx, app, scene);
  // Handling lies over the path, which would hide what took the time.
  for (const row of scene.rows ?? []) drawHandling(ctx, app, scene, row);
  drawSelected(ctx, app, scene);
  drawMarks(ctx, app, scene);
  drawBand(ctx, app, scene);
  ctx.restore();
  drawLabels(ctx, app, scene);
  return scene;
}

function drawLanes(ctx, app, scene) {
  const { view, colours, model } = app;
  for (const lane of scene.byLane) {
    if (!lane) continue;
    for (const span of generationsOf(model, lane.lane)) {
      if (span.gen % 2 === 0) continue;
      const left = Math.max(scene.gutter, scene.x(span.from));
      ctx.fillStyle = colours.stripe;
      ctx.fillRect(left, lane.y, Math.max(0, Math.min(scene.width, scene.x(span.until)) - left), lane.tall);
    }
    ctx.fillStyle = colours.line;
    ctx.fillRect(0, Math.round(lane.y), scene.width, 1);
    ctx.fillRect(scene.gutter, Math.round(lane.centre), scene.width - scene.gutter, 1);
  }
  const step = tickStep(scene.perNs, 96);
  ctx.font = '11px ui-monospace, "DejaVu Sans Mono", monospace';
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'left';
  for (let at = Math.ceil(view.from / step) * step; at <= view.until; at += step) {
    const x = Math.round(scene.x(at));
    ctx.fillStyle = colours.line;
    ctx.fillRect(x, AXIS_PX - 5, 1, scene.height);
    const text = formatMoment(at, step);
    if (x + 3 + ctx.measureText(text).width > app.axisEndsPx) continue;
    ctx.fillStyle = colours.muted;
    ctx.fillText(text, x + 3, 9);
  }
}

/** The incarnations of an actor in order: `{gen, from, until}`. */
export function generationsOf(model, lane) {
  const starts = model.marks.filter((mark) => mark.lane === lane && (mark.kind === 'start' || mark.kind === 'restart'));
  return starts.map((mark, at) => ({ gen: mark.gen ?? at, from: mark.t, until: starts[at + 1]?.t ?? model.last }));
}

function drawDepths(ctx, app, scene) {
  const { model, colours } = app;
  for (const lane of scene.byLane) {
    if (!lane?.depthPx) continue;
    const worst = new Float32Array(scene.columns);
    for (const [p, strip] of scene.depths) {
      const port = model.portOf.get(p);
      if (port?.to !== lane.lane || !port.items) continue;
      for (let at = 0; at < worst.length; at += 1) worst[at] = Math.max(worst[at], strip[at] / port.items);
    }
    const floor = lane.depthY + lane.depthPx;
    for (let at = 0; at < worst.length; at += 1) {
      if (worst[at] <= 0) continue;
      // The root lets a depth of one in hundreds be seen; the limit stays where it is.
      const tall = Math.max(1, Math.sqrt(Math.min(1, worst[at])) * lane.depthPx);
      ctx.fillStyle = worst[at] >= 0.9 ? colours.bad : colours.depth;
      ctx.fillRect(scene.gutter + at * COLUMN_PX, floor - tall, COLUMN_PX, tall);
    }
    ctx.strokeStyle = colours.bad;
    ctx.globalAlpha = 0.65;
    ctx.setLineDash([3, 4]);
    line(ctx, scene.gutter, Math.round(lane.depthY) + 0.5, scene.width, Math.round(lane.depthY) + 0.5);
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
  }
}

function line(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  ctx.stroke();
}

function drawGaps(ctx, app, scene) {
  for (const mark of app.model.marks) {
    if (mark.kind !== 'gap' || mark.until < app.view.from || mark.from > app.view.until) continue;
    const left = scene.x(mark.from);
    const wide = Math.max(2, scene.x(mark.until) - left);
    ctx.globalAlpha = 0.22;
    ctx.fillStyle = app.colours.bad;
    ctx.fillRect(left, AXIS_PX, wide, scene.height);
    ctx.globalAlpha = 1;
    label(ctx, app, `${formatCount(mark.n)} records lost`, left + 3, scene.bottom - 8, app.colours.bad);
  }
}

// Text over lines needs ground of its own to be read.
function label(ctx, app, text, x, y, colour) {
  const wide = ctx.measureText(text).width;
  ctx.globalAlpha = 0.85;
  ctx.fillStyle = app.colours.panel;
  ctx.fillRect(x - 2, y - 7, wide + 4, 14);
  ctx.globalAlpha = 1;
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}

function drawArrows(ctx, app, scene) {
  const { model, colours } = app;
  const plain = new Path2D();
  const failed = new Path2D();
  const waits = new Path2D();
  const few = scene.rows.length <= 1200;
  for (const row of scene.rows) {
    const lane = scene.byLane[model.to[row]];
    if (!lane) continue;
    const bad = model.bad[row] || model.state[row] >= STATE.dropped;
    const sent = scene.x(model.t[row]);
    const begun = scene.x(model.t[row] + (model.wait[row] || 0));
    const origin = model.from[row] === NO_LANE ? null : scene.byLane[model.from[row]];
    if (origin) arrow(bad ? failed : plain, sent, origin, begun, lane, few);
    if (begun - sent > 1) {
      waits.moveTo(Math.max(-10, sent), lane.centre - lane.bar / 2 - 1.5);
      waits.lineTo(Math.min(scene.width + 10, begun), lane.centre - lane.bar / 2 - 1.5);
    }
  }
  ctx.lineWidth = 1;
  ctx.globalAlpha = few ? 0.75 : 0.35;
  ctx.strokeStyle = colours.muted;
  ctx.stroke(plain);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = colours.wait;
  ctx.lineWidth = 2;
  ctx.stroke(waits);
  ctx.strokeStyle = colours.bad;
  ctx.lineWidth = 1.25;
  ctx.stroke(failed);
}

function arrow(path, x0, from, x1, to, head) {
  const down = to.centre >= from.centre ? 1 : -1;
  const y0 = from.centre;
  const y1 = to.centre - (down * to.bar) / 2;
  // Ends far outside are cut: canvases lose precision with coordinates in the millions.
  const left = Math.max(-2000, Math.min(5000, x0));
  const right = Math.max(-2000, Math.min(5000, x1));
  path.moveTo(left, y0);
  path.lineTo(right, y1);
  if (!head) return;
  const angle = Math.atan2(y1 - y0, right - left);
  path.moveTo(right - 6 * Math.cos(angle - 0.4), y1 - 6 * Math.sin(angle - 0.4));
  path.lineTo(right, y1);
  path.lineTo(right - 6 * Math.cos(angle + 0.4), y1 - 6 * Math.sin(angle + 0.4));
}

function drawHandling(ctx, app, scene, row) {
  const { model, colours } = app;
  const lane = scene.byLane[model.to[row]];
  if (!lane) return;
  const begun = scene.x(model.t[row] + (model.wait[row] || 0));
  const top = lane.centre - lane.bar / 2;
  const state = model.state[row];
  if (state === STATE.dropped) { cross(ctx, colours.bad, begun, lane.centre); return; }
  if (state === STATE.inFlight && Number.isNaN(model.busy[row])) {
    ctx.strokeStyle = colours.muted;
    ctx.lineWidth = 1;
    ctx.strokeRect(begun - 2.5, lane.centre - 2.5, 5, 5);
    return;
  }
  const left = Math.max(scene.gutter - 4, begun);
  const right = Math.min(scene.width + 4, begun + (model.busy[row] || 0) * scene.perNs);
  const finish = Math.min(scene.width + 4, scene.x(model.end[row]));
  const colour = state === STATE.panicked ? colours.bad : typeColour(model, model.type[row]);
  ctx.fillStyle = colour;
  if (finish - left > 1) ctx.fillRect(left, lateY(lane, row), finish - left, 2.5);
  ctx.fillRect(left, top, Math.max(1.5, right - left), lane.bar);
  if (model.bad[row]) { ctx.fillStyle = colours.bad; ctx.fillRect(left, top + lane.bar - 3, Math.max(2, right - left), 3); }
  if (right - left > 56 && lane.bar >= 12) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, right - left, lane.bar);
    ctx.clip();
    ctx.fillStyle = textOn(colour, colours);
    ctx.fillText(shortName(model.types[model.type[row]]), left + 4, lane.centre + 0.5);
    ctx.restore();
  }
}

// What goes on after the handling is drawn below it, in three rows since such times overlap.
function lateY(lane, row) {
  return lane.centre + lane.bar / 2 + 2 + (row % 3) * 4;
}

function cross(ctx, colour, x, y) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 2;
  line(ctx, x - 4, y - 4, x + 4, y + 4);
  line(ctx, x - 4, y + 4, x + 4, y - 4);
}

function drawDensity(ctx, app, scene, bins) {
  const { model, colours } = app;
  const nsPerColumn = (bins.until - bins.from) / bins.columns;
  for (const [pair, flow] of bins.flow) {
    const from = scene.byLane[pair >> 8];
    const to = scene.byLane[pair & 255];
    if (!from || !to) continue;
    const top = Math.min(from.centre, to.centre);
    ctx.fillStyle = colours.muted;
    for (let at = 0; at < flow.length; at += 1) {
      if (!flow[at]) continue;
      ctx.globalAlpha = Math.min(0.3, 0.03 + 0.025 * Math.log2(1 + flow[at]));
      ctx.fillRect(scene.gutter + at * COLUMN_PX, top, COLUMN_PX, Math.abs(from.centre - to.centre));
    }
  }
  ctx.globalAlpha = 1;
  for (const lane of scene.byLane) {
    if (!lane) continue;
    const floor = lane.centre + lane.bar / 2 + 3;
    for (let at = 0; at < bins.columns; at += 1) {
      const place = lane.lane * bins.columns + at;
      if (!bins.count[place] && !bins.busy[place]) continue;
      const share = Math.min(1, bins.busy[place] / nsPerColumn);
      const tall = Math.max(1.5, share * (lane.bar + 8));
      ctx.fillStyle = bins.busy[place] ? typeColour(model, bins.type[place]) : colours.muted;
      ctx.fillRect(scene.gutter + at * COLUMN_PX, floor - tall, COLUMN_PX, tall);
      if (bins.bad[place]) { ctx.fillStyle = colours.bad; ctx.fillRect(scene.gutter + at * COLUMN_PX, floor + 1, COLUMN_PX, 4); }
    }
  }
}

function drawPath(ctx, app, scene) {
  const steps = app.path?.steps ?? [];
  const { model, colours } = app;
  const route = new Path2D();
  const clamp = (x) => Math.max(-5000, Math.min(9000, x));
  steps.forEach((step, at) => {
    const to = scene.byLane[model.to[step.row]];
    if (!to) return;
    const from = model.from[step.row] === NO_LANE ? to : scene.byLane[model.from[step.row]] ?? to;
    const next = steps[at + 1];
    const until = next ? model.t[next.row] : model.end[step.row];
    route.moveTo(clamp(scene.x(model.t[step.row])), from.centre);
    route.lineTo(clamp(scene.x(model.t[step.row] + (model.wait[step.row] || 0))), to.centre);
    route.lineTo(clamp(scene.x(until)), to.centre);
  });
  ctx.lineJoin = 'round';
  ctx.lineWidth = 5;
  ctx.strokeStyle = colours.panel;
  ctx.stroke(route);
  ctx.lineWidth = 2.5;
  ctx.strokeStyle = colours.path;
  ctx.stroke(route);
}

function drawSelected(ctx, app, scene) {
  const row = app.selected;
  const { model, colours } = app;
  const to = row >= 0 ? scene.byLane[model.to[row]] : null;
  if (!to) return;
  const begun = scene.x(model.t[row] + (model.wait[row] || 0));
  const finish = Math.min(scene.width + 9, scene.x(model.end[row]));
  const left = Math.max(scene.gutter - 9, begun);
  ctx.strokeStyle = colours.select;
  ctx.lineWidth = 2;
  ctx.strokeRect(left - 3, to.centre - to.bar / 2 - 4, Math.max(6, finish - left + 6), to.bar + 8);
  const from = scene.byLane[model.from[row]];
  if (!from) return;
  const path = new Path2D();
  arrow(path, scene.x(model.t[row]), from, begun, to, true);
  ctx.stroke(path);
}

const MARK_TEXT = { panic: '\u2716 panic', restart: '\u21bb', start: '\u25b6', stop: '\u25a0', slow: 'slow', refuse: '\u2298 refused' };

function drawMarks(ctx, app, scene) {
  const { view, colours } = app;
  const seen = [];
  app.model.marks.forEach((mark, at) => {
    if (mark.kind === 'gap' || mark.t < view.from || mark.t > view.until) return;
    const lane = scene.byLane[mark.lane];
    if (!lane) return;
    const x = scene.x(mark.t);
    const weight = at === view.mark ? 3 : mark.kind === 'panic' ? 2 : mark.kind === 'refuse' ? 1 : 0;
    ctx.fillStyle = weight ? colours.bad : colours.muted;
    ctx.fillRect(x - 0.5, lane.y + 1, Math.max(1, weight), lane.tall - 2);
    seen.push({ mark, lane, x, weight });
  });
  labelMarks(ctx, app, scene, seen);
}

// The weightiest are written first; what would lie over a label in its lane stays a line.
function labelMarks(ctx, app, scene, seen) {
  const { colours } = app;
  const taken = new Map();
  for (const { mark, lane, x, weight } of seen.sort((a, b) => b.weight - a.weight)) {
    const text = MARK_TEXT[mark.kind] + (mark.gen > 0 ? ` gen ${mark.gen}` : '');
    const wide = ctx.measureText(text).width + 8;
    const start = x + wide > scene.width ? x - wide : x;
    const finish = start + wide;
    const others = taken.get(lane.lane) ?? [];
    if (others.some((other) => start < other.finish && finish > other.start)) continue;
    taken.set(lane.lane, [...others, { start, finish }]);
    label(ctx, app, text, start + 4, lane.y + lane.tall - 8, weight ? colours.bad : colours.muted);
  }
}

function drawBand(ctx, app, scene) {
  if (!app.band) return;
  const [x0, x1] = app.band.map(scene.x);
  ctx.globalAlpha = 0.2;
  ctx.fillStyle = app.colours.select;
  ctx.fillRect(Math.min(x0, x1), 0, Math.abs(x1 - x0), scene.height);
  ctx.globalAlpha = 1;
}

function drawLabels(ctx, app, scene) {
  const { colours } = app;
  if (scene.gutter) {
    ctx.fillStyle = colours.panel;
    ctx.fillRect(0, 0, scene.gutter - 1, scene.height);
    ctx.fillStyle = colours.line;
    ctx.fillRect(scene.gutter - 1, 0, 1, scene.height);
  }
  ctx.font = '12px system-ui, "DejaVu Sans", sans-serif';
  for (const lane of scene.byLane) {
    if (!lane) continue;
    ctx.fillStyle = colours.line;
    ctx.fillRect(0, Math.round(lane.y), scene.gutter, 1);
    const y = scene.gutter ? lane.centre : lane.y + 8;
    const text = clipTo(ctx, lane.name, scene.gutter ? scene.gutter - 14 : scene.width);
    if (scene.gutter) { ctx.fillStyle = lane.actor ? colours.ink : colours.muted; ctx.fillText(text, 8, y); }
    else label(ctx, app, text, 4, y, lane.actor ? colours.ink : colours.muted);
    if (scene.gutter && lane.actor) {
      ctx.fillStyle = colours.muted;
      ctx.font = '10px system-ui, "DejaVu Sans", sans-serif';
      ctx.fillText('mailbox', 8, lane.depthY + lane.depthPx / 2 + 1);
      ctx.font = '12px system-ui, "DejaVu Sans", sans-serif';
    }
  }
  ctx.fillStyle = colours.muted;
  const span = `${formatSpan(app.view.until - app.view.from)}${scene.rows ? '' : ', density'}`;
  if (scene.gutter) ctx.fillText(span, 8, 10);
}

function clipTo(ctx, text, wide) {
  let cut = text.slice(0, 60);
  while (cut.length > 1 && ctx.measureText(cut).width > wide) cut = cut.slice(0, -1);
  return cut === text ? text : `${cut.slice(0, -1)}\u2026`;
}

/** The row at a point: an arrow or a bar within reach, the nearest first and then what lies on top; -1 for none. */
export function rowAt(app, scene, x, y) {
  const { model } = app;
  let best = -1;
  let bestDistance = 7;
  for (const row of scene.rows ?? []) {
    const to = scene.byLane[model.to[row]];
    if (!to) continue;
    const begun = scene.x(model.t[row] + (model.wait[row] || 0));
    const aside = (until) => Math.max(0, begun - x, x - Math.max(begun + 2, until));
    const barDistance = Math.hypot(aside(begun + (model.busy[row] || 0) * scene.perNs), Math.max(0, Math.abs(y - to.centre) - to.bar / 2));
    const lateDistance = model.late[row] > 0 ? Math.hypot(aside(scene.x(model.end[row])), Math.max(0, Math.abs(y - lateY(to, row) - 1.25) - 1.25)) : Infinity;
    const from = scene.byLane[model.from[row]];
    const arrowDistance = from ? segmentDistance(x, y, scene.x(model.t[row]), from.centre, begun, to.centre) + 1 : Infinity;
    const distance = Math.min(barDistance, lateDistance, arrowDistance);
    if (distance <= bestDistance) { best = row; bestDistance = distance; }
  }
  return best;
}

function segmentDistance(x, y, x0, y0, x1, y1) {
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2 || 1;
  const along = Math.max(0, Math.min(1, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length));
  return Math.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0));
}

/** What the pointer is over, in lines of text; empty for nothing. */
export function describeAt(app, scene, x, y) {
  const { model } = app;
  if (x < scene.gutter) return [];
  const column = Math.floor((x - scene.gutter) / COLUMN_PX);
  const lane = scene.byLane.find((each) => each && y >= each.y && y < each.y + each.tall);
  if (lane?.depthPx && y <= lane.depthY + lane.depthPx) {
    const lines = [];
    for (const [p, strip] of scene.depths) {
      const port = model.portOf.get(p);
      if (port?.to === lane.lane) lines.push(`${port.name}: ${formatCount(strip[column])} of ${formatCount(port.items)}`);
    }
    return lines.length ? [`mailbox of ${lane.name}`, ...lines] : [];
  }
  const row = rowAt(app, scene, x, y);
  if (row >= 0) {
    const origin = model.from[row] === NO_LANE ? '' : `${model.lanes[model.from[row]]} \u2192 `;
    return [model.types[model.type[row]], `${origin}${model.lanes[model.to[row]]}`,
      `waited ${formatSpan(model.wait[row])}, handled ${formatSpan(model.busy[row])}, later ${formatSpan(model.late[row])}`];
  }
  if (scene.bins && lane && column < scene.bins.columns) {
    const place = lane.lane * scene.bins.columns + column;
    if (!scene.bins.count[place] && !scene.bins.busy[place]) return [];
    const share = scene.bins.busy[place] / ((scene.bins.until - scene.bins.from) / scene.bins.columns);
    return [`${lane.name}: ${formatCount(scene.bins.count[place])} messages`, `${Math.round(share * 100)}% handling`,
      scene.bins.busy[place] ? `most: ${model.types[scene.bins.type[place]]}` : ''].filter(Boolean);
  }
  return [];
}
