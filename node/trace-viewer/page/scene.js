// Where things are on the ladder: lanes from top to bottom, time from left to right.

import { OUTCOMES } from './filter.js';

export const AXIS_PX = 20;
const LEAST_PX = { actor: 50, outside: 26 };

/** The lanes that are shown with their places, and functions between time and x. */
export function layOut(model, view, width, height) {
  const gutter = width < 560 ? 0 : 104;
  const shown = model.lanes.map((name, lane) => ({ name, lane, actor: lane < model.actors }))
    .filter(({ name }) => !view.filter.lanes.includes(name));
  const least = shown.reduce((sum, { actor }) => sum + (actor ? LEAST_PX.actor : LEAST_PX.outside), 0);
  const stretch = Math.max(1, (height - AXIS_PX - 4) / Math.max(1, least));
  const byLane = [];
  let y = AXIS_PX;
  for (const lane of shown) {
    const tall = (lane.actor ? LEAST_PX.actor : LEAST_PX.outside) * stretch;
    const centre = y + (lane.actor ? Math.min(tall - 15, 33 + (tall - 50) * 0.35) : tall * 0.5);
    byLane[lane.lane] = { ...lane, y, tall, centre, bar: lane.actor ? 12 : 7, depthY: y + 3, depthPx: lane.actor ? Math.min(22, centre - y - 12) : 0 };
    y += tall;
  }
  const perNs = (width - gutter) / (view.until - view.from);
  return {
    width, height: Math.max(height, y), gutter, byLane, perNs, bottom: y,
    x: (ns) => gutter + (ns - view.from) * perNs,
    ns: (x) => view.from + (x - gutter) / perNs,
  };
}

/** How tall the ladder must be at least for the lanes that are shown. */
export function leastHeight(model, view) {
  return model.lanes.reduce((sum, name, lane) => (view.filter.lanes.includes(name) ? sum
    : sum + (lane < model.actors ? LEAST_PX.actor : LEAST_PX.outside)), AXIS_PX + 4);
}

/** Round steps for the axis that leave about `target` pixels between ticks. */
export function tickStep(perNs, target) {
  const raw = target / perNs;
  if (raw > 6e10) {
    for (const step of [6e10, 12e10, 3e11, 6e11, 12e11, 18e11, 36e11, 72e11, 216e11]) if (step >= raw) return step;
  }
  const power = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
  for (const factor of [1, 2, 5, 10]) if (power * factor >= raw) return power * factor;
  return power * 10;
}

/** What the filter leaves, in words. */
export function describeShown(app) {
  const { model, shown, view } = app;
  const outcome = view.filter.outcome === 'all' ? '' : `, ${OUTCOMES[view.filter.outcome]}`;
  return `${shown.count.toLocaleString('en')} of ${model.rows.toLocaleString('en')} messages${outcome}`;
}
