// The page: holds the model and the view, and redraws what a change touches.

import { byId, el } from './dom.js';
import { createModel, decodeBase64 } from './decode.js';
import { indexRows, rowOfId } from './rows.js';
import { applyFilter } from './filter.js';
import { followKey, parseKey, rowsNaming } from './follow.js';
import { criticalPath } from './path.js';
import { slowestRows } from './latency.js';
import { readView, writeView } from './state.js';
import { assignColours, isDark, themeColours } from './colours.js';
import { AXIS_PX, describeShown, leastHeight } from './scene.js';
import { drawLadder } from './ladder.js';
import { drawOverview } from './overview.js';
import { drawTable, TABS } from './tables.js';
import { describeRow, drawDetails, keysOf } from './details.js';
import { connectFilters, connectKeys, connectLadder, connectOverview, showFilter } from './controls.js';
import { followLive } from './live.js';
import { formatMoment, formatSpan } from './text.js';

const LEAST_SPAN_NS = 200;
const RANKED_ROWS = 1000;
// Nodes that run write something every few seconds; a recording that is over does not.
const QUIET_NS = 30e9;

const app = { view: readView(location.hash), selected: -1, paused: false, tabs: TABS, diff: null };

function timed(name, work) {
  const start = performance.now();
  const result = work();
  performance.measure(name, { start, end: performance.now() });
  return result;
}

app.complain = (text) => {
  byId('alert').textContent = text;
  byId('alert').hidden = !text;
};

// Finds the followed rows and those that the filter leaves.
function refresh() {
  const { model, view } = app;
  app.complain('');
  app.followed = null;
  app.path = null;
  if (view.follow) {
    const key = parseKey(model, view.follow);
    if (key.error) app.complain(key.error);
    else {
      timed('follow', () => {
        app.followed = followKey(model, key);
        app.path = criticalPath(model, app.followed);
      });
      if (!app.followed.hops.length) { app.complain(`Nothing in this trace names ${key.label}.`); app.followed = null; app.path = null; }
    }
  }
  timed('filter', () => {
    const key = view.filter.key ? parseKey(model, view.filter.key) : null;
    if (key?.error) app.complain(key.error);
    app.shown = applyFilter(model, view.filter, [app.followed?.mask, key && !key.error ? rowsNaming(model, key) : null]);
  });
  app.ranked = null;
}

let drawing = false;
function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawCanvases(); });
}

function fit(canvas, height) {
  const ratio = Math.min(2, devicePixelRatio || 1);
  const width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  canvas.style.height = `${height}px`;
  const ctx = canvas.getContext('2d', { alpha: false });
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { ctx, width, ratio };
}

function drawCanvases() {
  const box = byId('ladder-box');
  const height = Math.max(box.clientHeight, leastHeight(app.model, app.view));
  const ladder = fit(byId('ladder'), height);
  // The buttons stand on the axis where there is room for both.
  app.axisEndsPx = ladder.width - (byId('zoom').offsetTop < AXIS_PX ? byId('zoom').offsetWidth + 8 : 0);
  app.scene = drawLadder(ladder.ctx, app, ladder.width, height);
  const strip = fit(byId('overview'), 40);
  drawOverview(strip.ctx, app, strip.width, 40, strip.ratio);
  const { model, view } = app;
  const share = Math.round((((view.from + view.until) / 2 - model.first) / (model.last - model.first)) * 100);
  const resolution_ns = (view.until - view.from) / 1000;
  byId('overview').setAttribute('aria-valuenow', String(share));
  byId('overview').setAttribute('aria-valuetext', `${formatMoment(view.from, resolution_ns)} to ${formatMoment(view.until, resolution_ns)}`);
}

function drawAll() {
  const { view } = app;
  byId('source').textContent = app.model.source;
  byId('source').title = app.model.source;
  byId('shown').textContent = describeShown(app);
  byId('unfollow').hidden = !view.follow;
  showFilter(app);
  for (const tab of byId('tabs').children) {
    const on = tab.dataset.tab === view.tab;
    tab.setAttribute('aria-selected', String(on));
    tab.tabIndex = on ? 0 : -1;
    if (on) byId('panel').setAttribute('aria-label', tab.textContent);
    if (tab.dataset.tab === 'compare') tab.hidden = !app.diff && view.tab !== 'compare';
  }
  showTail();
  // A button that is replaced between press and release would never be clicked.
  if (!app.pressed) {
    keepFocus(byId('panel'), () => drawTable(app, byId('panel')));
    keepFocus(byId('details'), () => drawDetails(app, byId('details')));
  }
  redraw();
}

// What is drawn anew would drop the focus of the keyboard; `data-at` tells the same control in both drawings.
function keepFocus(box, draw) {
  const held = box.contains(document.activeElement) ? document.activeElement.dataset.at : undefined;
  draw();
  if (held) [...box.querySelectorAll('[data-at]')].find((each) => each.dataset.at === held)?.focus({ preventScroll: true });
}

function showTail() {
  byId('tail').hidden = !app.model.live || app.view.tail;
}

let written = 0;
function keepAddress(push) {
  const address = `#${writeView(app.view)}`;
  clearTimeout(written);
  if (push) history.pushState(null, '', address);
  // Browsers refuse an address that changes many times a second.
  else written = setTimeout(() => history.replaceState(null, '', address), 120);
}

function locate() {
  app.selected = app.view.select ? rowOfId(app.model, app.view.select) : -1;
}

app.change = (changes, push = false) => {
  Object.assign(app.view, changes);
  keepAddress(push);
  drawAll();
};

app.filter = (changes) => {
  Object.assign(app.view.filter, changes);
  refresh();
  keepAddress(true);
  drawAll();
};

app.showSpan = (from, until, push = false) => {
  const { model, view } = app;
  const whole = model.last - model.first;
  const span = Math.max(LEAST_SPAN_NS, Math.min(until - from, whole * 1.1));
  const middle = Math.max(model.first, Math.min(model.last, (from + until) / 2));
  view.from = middle - span / 2;
  view.until = middle + span / 2;
  view.tail = model.live && view.until >= model.last;
  showTail();
  keepAddress(push);
  redraw();
};
app.pan = (ns) => app.showSpan(app.view.from + ns, app.view.until + ns);
app.zoom = (factor, about = (app.view.from + app.view.until) / 2) => {
  app.showSpan(about - (about - app.view.from) * factor, about + (app.view.until - about) * factor);
};

app.stretchBand = (ns) => {
  app.band[1] = ns;
  redraw();
};

app.select = (row, push = true) => {
  app.selected = row;
  byId('said').textContent = row >= 0 ? describeRow(app, row) : '';
  app.change({ select: row >= 0 ? app.model.id[row] : 0, mark: -1 }, push);
};

// Selects a row and brings it into view, near enough to be seen apart.
app.goTo = (row) => {
  const { model, view } = app;
  const length = model.end[row] - model.t[row];
  const span = Math.max(Math.min(view.until - view.from, Math.max(length * 8, 2e5)), length * 1.5, 2e3);
  const middle = (model.t[row] + model.end[row]) / 2;
  app.showSpan(middle - span / 2, middle + span / 2);
  app.select(row);
};

app.goToMark = (at) => {
  const mark = app.model.marks[at];
  const [from, until] = mark.kind === 'gap' ? [mark.from, mark.until] : [mark.t, mark.t];
  const span = Math.max((until - from) * 3, Math.min(app.view.until - app.view.from, 2e8));
  app.showSpan((from + until - span) / 2, (from + until + span) / 2);
  app.selected = -1;
  byId('said').textContent = `${mark.kind} at ${formatMoment(mark.t, 1e3)}`;
  app.change({ mark: at, select: 0 }, true);
};

app.nextMark = (kind) => {
  const { marks } = app.model;
  for (let step = 1; step <= marks.length; step += 1) {
    const at = (app.view.mark + step + marks.length) % marks.length;
    if (marks[at].kind === kind) { app.goToMark(at); return; }
  }
  app.complain(`There is no ${kind} in this trace.`);
};

app.follow = (text) => {
  app.view.follow = text;
  refresh();
  if (app.followed) {
    const margin = (app.followed.until - app.followed.from) * 0.04 + 1000;
    app.showSpan(app.followed.from - margin, app.followed.until + margin);
    app.view.tab = 'follow';
  }
  byId('follow').blur();
  keepAddress(true);
  drawAll();
};

app.followSelected = () => {
  const [key] = app.selected >= 0 ? keysOf(app.model, app.selected) : [];
  if (key) app.follow(key[1]);
  else app.complain(app.selected >= 0 ? 'The selected message names no block, peer or session.' : 'Select a message first.');
};

app.sortMetric = () => {
  const metric = app.view.sort.split('.')[0];
  return ['wait', 'busy', 'late'].includes(metric) ? metric : 'all';
};

app.nextSlowest = (step) => {
  const metric = app.sortMetric();
  if (app.ranked?.metric !== metric) app.ranked = { metric, rows: slowestRows(app.model, app.shown, metric, -1, RANKED_ROWS) };
  const { rows } = app.ranked;
  if (!rows.length) return;
  const at = rows.indexOf(app.selected);
  app.goTo(rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + step))]);
};

app.nextInTime = (step) => {
  const { shown, model } = app;
  let row = app.selected < 0 ? (step > 0 ? -1 : model.rows) : app.selected;
  do row += step; while (row >= 0 && row < model.rows && !shown.mask[row]);
  if (row >= 0 && row < model.rows) app.goTo(row);
};

app.goToCause = () => {
  const cause = app.selected >= 0 ? app.model.cause[app.selected] : -1;
  if (cause >= 0) app.goTo(cause);
};

app.escape = () => {
  if (app.selected >= 0 || app.view.mark >= 0) app.select(-1);
  else if (app.view.follow) app.follow('');
  app.complain('');
};

/** Shows the newest, and goes along with it while the source is live. */
app.toTail = () => {
  const { model, view } = app;
  app.showSpan(model.last - (view.until - view.from), model.last, true);
};

app.toHead = () => app.showSpan(app.model.first, app.model.first + app.view.until - app.view.from, true);

app.pause = () => {
  if (!app.model.live) return;
  app.paused = !app.paused;
  byId('pause').textContent = app.paused ? 'Go on' : 'Pause';
  byId('pause').setAttribute('aria-pressed', String(app.paused));
  app.connected(true);
};

app.takeNews = () => {
  const { model, view } = app;
  const span = view.until - view.from;
  const whole = view.from <= model.first && view.until >= model.last;
  indexRows(model);
  model.fineDepth = null;
  if (model.places.length !== model.types.length) assignColours(model);
  locate();
  refresh();
  if (view.tail) [view.from, view.until] = whole ? [model.first, model.last] : [model.last - span, model.last];
  keepAddress(false);
  drawAll();
};

app.connected = (answered) => {
  const { model } = app;
  byId('pause').hidden = !model.live;
  if (!answered) { byId('lag').textContent = 'no answer from the server'; return; }
  if (!model.live) { byId('lag').textContent = ''; return; }
  let latest = model.first;
  for (let row = Math.max(0, model.rows - 512); row < model.rows; row += 1) latest = Math.max(latest, model.t[row]);
  const behind = Date.now() * 1e6 - model.t0_unix_ns - latest;
  byId('lag').textContent = app.paused ? 'paused' : model.clock !== 'real' ? 'live' : behind > QUIET_NS ? `nothing new for ${formatSpan(behind)}` : `live, newest ${formatSpan(Math.max(0, behind))} ago`;
};

async function load() {
  const embedded = byId('columns').textContent;
  if (embedded.trim()) { app.embedded = true; return decodeBase64(embedded); }
  const answer = await fetch('./columns');
  if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
  return answer.arrayBuffer();
}

app.reload = async () => {
  const buffer = await load();
  app.model = indexRows(createModel(buffer));
  assignColours(app.model);
  const { model, view } = app;
  // A saved page is what it was when it was saved.
  if (app.embedded) model.live = false;
  byId('pause').hidden = !model.live;
  if (view.from === null) { [view.from, view.until] = [model.first, model.last]; view.tail = model.live; }
  if (model.live && view.tail) [view.from, view.until] = [model.last - (view.until - view.from), model.last];
  locate();
  refresh();
};

async function loadDiff() {
  if (app.embedded) { app.diff = app.model.diff; return; }
  const answer = await fetch('./diff');
  app.diff = answer.ok ? await answer.json() : null;
}

function setTheme() {
  const { theme } = app.view;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  app.colours = themeColours();
  byId('theme').textContent = isDark() ? 'Light' : 'Dark';
}

function connect() {
  byId('tabs').append(...Object.entries(TABS).map(([tab, text]) => {
    const button = el('button', { type: 'button', role: 'tab', 'aria-controls': 'panel', onclick: () => app.change({ tab }, true) }, text);
    button.dataset.tab = tab;
    return button;
  }));
  byId('tabs').addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const tabs = [...byId('tabs').children].filter((tab) => !tab.hidden);
    const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
    app.change({ tab: next.dataset.tab }, true);
    next.focus();
  });
  connectFilters(app);
  connectLadder(app);
  connectOverview(app);
  connectKeys(app);
  byId('pause').addEventListener('click', app.pause);
  byId('tail').addEventListener('click', app.toTail);
  byId('dock').addEventListener('pointerdown', () => { app.pressed = true; });
  for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => { app.pressed = false; }, true);
  byId('theme').addEventListener('click', () => {
    app.view.theme = isDark() ? 'light' : 'dark';
    setTheme();
    keepAddress(false);
    drawAll();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { setTheme(); drawAll(); });
  addEventListener('resize', redraw);
  addEventListener('popstate', () => {
    const { from, until } = app.view;
    app.view = readView(location.hash);
    if (app.view.from === null) [app.view.from, app.view.until] = location.hash ? [from, until] : [app.model.first, app.model.last];
    setTheme();
    locate();
    refresh();
    drawAll();
  });
}

async function open() {
  try {
    await app.reload();
    setTheme();
    connect();
    await loadDiff().catch(() => { app.diff = null; });
    byId('save').hidden = Boolean(app.embedded);
    const skipped = app.model.skipped.reduce((sum, skip) => sum + skip.count, 0);
    if (skipped) byId('tabs').lastElementChild.textContent = `Source (${skipped} skipped)`;
    drawAll();
    drawCanvases();
    performance.measure('open', { start: 0, end: performance.now() });
    document.documentElement.dataset.ready = '1';
    if (app.model.live && !app.embedded) followLive(app);
  } catch (error) {
    app.complain(`The trace could not be shown. ${error.message}`);
  }
}
open();
