// The strip over the whole run: how much went on, where it failed, and which part is shown.

import { binView } from './density.js';
import { formatMoment } from './text.js';

const LABEL_PX = 11;

/** Draws the strip; what does not change with the view is kept in `app.overviewImage`. */
export function drawOverview(ctx, app, width, height, ratio) {
  const { model, view, colours } = app;
  const size = `${width}x${height}`;
  if (app.overviewImage?.shown !== app.shown || app.overviewImage.size !== size || app.overviewImage.colours !== colours) {
    const canvas = document.createElement('canvas');
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const inner = canvas.getContext('2d');
    inner.scale(ratio, ratio);
    drawRun(inner, app, width, height);
    app.overviewImage = { canvas, shown: app.shown, size, colours };
  }
  ctx.drawImage(app.overviewImage.canvas, 0, 0, width, height);
  const perNs = width / (model.last - model.first);
  const left = (view.from - model.first) * perNs;
  const right = (view.until - model.first) * perNs;
  ctx.globalAlpha = 0.55;
  ctx.fillStyle = colours.paper;
  ctx.fillRect(0, 0, left, height);
  ctx.fillRect(right, 0, width - right, height);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = colours.select;
  ctx.lineWidth = 2;
  ctx.strokeRect(left + 1, 1, Math.max(3, right - left - 2), height - 2);
  drawEnds(ctx, app, width);
}

// The frame and the shade would cross the text: it comes last, on ground of its own.
function drawEnds(ctx, app, width) {
  const { model, colours } = app;
  ctx.font = '10px ui-monospace, "DejaVu Sans Mono", monospace';
  ctx.textBaseline = 'top';
  ctx.textAlign = 'left';
  const write = (text, x) => {
    ctx.fillStyle = colours.panel;
    ctx.fillRect(x - 2, 3, ctx.measureText(text).width + 4, LABEL_PX);
    ctx.fillStyle = colours.muted;
    ctx.fillText(text, x, 4);
  };
  const last = formatMoment(model.last, 1e8);
  write(formatMoment(model.first, 1e8), 6);
  write(last, width - ctx.measureText(last).width - 6);
}

function drawRun(ctx, app, width, height) {
  const { model, shown, colours } = app;
  const columns = Math.max(1, Math.floor(width / 2));
  const bins = binView(model, shown, model.first, model.last, columns);
  const total = new Float64Array(columns);
  const bad = new Uint8Array(columns);
  for (let place = 0; place < bins.count.length; place += 1) {
    total[place % columns] += bins.count[place];
    if (bins.bad[place]) bad[place % columns] = 1;
  }
  const most = Math.sqrt(total.reduce((a, b) => Math.max(a, b), 1));
  ctx.fillStyle = colours.panel;
  ctx.fillRect(0, 0, width, height);
  for (let at = 0; at < columns; at += 1) {
    const tall = (Math.sqrt(total[at]) / most) * (height - 12 - LABEL_PX);
    ctx.fillStyle = colours.depth;
    ctx.fillRect(at * 2, height - 5 - tall, 2, tall);
    if (bad[at]) { ctx.fillStyle = colours.bad; ctx.fillRect(at * 2, height - 4, 2, 4); }
  }
  const perNs = width / (model.last - model.first);
  for (const mark of model.marks) {
    if (mark.kind !== 'panic' && mark.kind !== 'gap') continue;
    ctx.fillStyle = colours.bad;
    ctx.globalAlpha = mark.kind === 'gap' ? 0.4 : 1;
    const left = ((mark.from ?? mark.t) - model.first) * perNs;
    ctx.fillRect(left, 0, Math.max(2, mark.kind === 'gap' ? (mark.until - mark.from) * perNs : 0), height);
    ctx.globalAlpha = 1;
  }
}
