// The controls: filters, the pointer on ladder and strip, and the keys.

import { el, byId } from './dom.js';
import { OUTCOMES, openFilter } from './filter.js';
import { describeAt, rowAt } from './ladder.js';
import { parseSpan, formatSpan } from './text.js';

export const KEYS = [
  ['\u2190 \u2192', 'move through time'], ['+ \u2212', 'zoom'], ['0', 'show the whole run'], ['Home End', 'to the beginning and to the end'],
  ['Shift drag', 'zoom into what is dragged over'], ['/', 'type what to follow'],
  ['f', 'follow what is selected'], ['n p', 'next and previous slowest'], ['j k', 'next and previous message in time'],
  ['c', 'go to the cause'], ['e', 'next panic'], ['g', 'next gap'], ['Space', 'pause and go on, while live'],
  ['1 to 5', 'tables'], ['?', 'these keys'], ['Esc', 'close, then deselect, then stop following'],
];

/** Puts the filter into its controls. */
export function showFilter(app) {
  const { filter } = app.view;
  byId('outcome').value = filter.outcome;
  for (const name of ['took', 'waited']) if (document.activeElement !== byId(name)) byId(name).value = filter[name] ? formatSpan(filter[name]) : '';
  if (document.activeElement !== byId('depth')) byId('depth').value = filter.depth || '';
  if (document.activeElement !== byId('key')) byId('key').value = filter.key;
  if (document.activeElement !== byId('follow')) byId('follow').value = app.view.follow;
  for (const [menu, names, hidden] of [['lanes-list', app.model.lanes, filter.lanes], ['types-list', app.model.types, filter.types]]) {
    const box = byId(menu);
    if (box.childElementCount !== names.length) box.replaceChildren(...names.map((name) => checkbox(app, menu, name)));
    [...box.children].forEach((label, at) => { label.firstChild.checked = !hidden.includes(names[at]); });
  }
  byId('lanes-menu').firstElementChild.textContent = filter.lanes.length ? `Lanes \u2212${filter.lanes.length}` : 'Lanes';
  byId('types-menu').firstElementChild.textContent = filter.types.length ? `Messages \u2212${filter.types.length}` : 'Messages';
}

function checkbox(app, menu, name) {
  const field = menu === 'lanes-list' ? 'lanes' : 'types';
  const box = el('input', { type: 'checkbox' });
  box.addEventListener('change', () => {
    const hidden = app.view.filter[field].filter((each) => each !== name);
    app.filter({ [field]: box.checked ? hidden : [...hidden, name] });
  });
  return el('label', {}, box, name.slice(0, 80));
}

/** Connects the filter's controls. */
export function connectFilters(app) {
  byId('outcome').append(...Object.entries(OUTCOMES).map(([value, text]) => el('option', { value }, text)));
  byId('outcome').addEventListener('change', (event) => app.filter({ outcome: event.target.value }));
  for (const name of ['took', 'waited']) {
    byId(name).addEventListener('change', (event) => {
      const span = parseSpan(event.target.value);
      if (Number.isNaN(span)) app.complain(`${event.target.value} is not a span of time. Give one such as 5ms, 200us or 2s.`);
      else app.filter({ [name]: span });
    });
  }
  byId('depth').addEventListener('change', (event) => app.filter({ depth: Math.max(0, parseInt(event.target.value, 10) || 0) }));
  byId('key').addEventListener('change', (event) => app.filter({ key: event.target.value.trim() }));
  byId('clear').addEventListener('click', () => app.filter(openFilter()));
  byId('toggle-filters').addEventListener('click', (event) => {
    const open = byId('filters').classList.toggle('open');
    event.currentTarget.setAttribute('aria-expanded', String(open));
  });
  document.addEventListener('pointerdown', (event) => {
    for (const menu of document.querySelectorAll('details[open]')) if (!menu.contains(event.target)) menu.open = false;
  });
  byId('follow-form').addEventListener('submit', (event) => {
    event.preventDefault();
    app.follow(byId('follow').value.trim());
  });
  byId('unfollow').addEventListener('click', () => app.follow(''));
}

/** Connects wheel, drag, pinch, hover and click on the ladder. */
export function connectLadder(app) {
  const canvas = byId('ladder');
  const fingers = new Map();
  let moved = 0;
  const nsAt = (x) => app.scene.ns(x);
  canvas.addEventListener('wheel', (event) => {
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) app.pan((event.deltaX || event.deltaY) / app.scene.perNs);
    else app.zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.003), nsAt(event.offsetX));
    event.preventDefault();
  }, { passive: false });
  canvas.addEventListener('pointerdown', (event) => {
    fingers.set(event.pointerId, event.offsetX);
    moved = 0;
    app.band = event.shiftKey ? [nsAt(event.offsetX), nsAt(event.offsetX)] : null;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener('pointermove', (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) { hover(app, event.offsetX, event.offsetY); return; }
    if (app.band) app.stretchBand(nsAt(event.offsetX));
    else if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
      const [was, is] = [Math.abs(before - other), Math.abs(event.offsetX - other)];
      if (was > 4 && is > 4) app.zoom(was / is, nsAt((event.offsetX + other) / 2));
    } else app.pan((before - event.offsetX) / app.scene.perNs);
    moved += Math.abs(event.offsetX - before);
    fingers.set(event.pointerId, event.offsetX);
  });
  const lift = (event) => {
    const band = app.band?.toSorted((a, b) => a - b);
    app.band = null;
    if (band && moved >= 5) { fingers.delete(event.pointerId); app.showSpan(...band, true); return; }
    if (fingers.delete(event.pointerId) && moved < 5 && event.type === 'pointerup') {
      const row = rowAt(app, app.scene, event.offsetX, event.offsetY);
      if (row >= 0) app.select(row);
      else if (!app.scene.rows) app.zoom(0.25, nsAt(event.offsetX));
    }
  };
  canvas.addEventListener('pointerup', lift);
  canvas.addEventListener('pointercancel', lift);
  canvas.addEventListener('pointerleave', () => { byId('tip').hidden = true; });
  canvas.addEventListener('dblclick', (event) => app.zoom(0.25, nsAt(event.offsetX)));
  byId('zoom-in').addEventListener('click', () => app.zoom(0.5));
  byId('zoom-out').addEventListener('click', () => app.zoom(2));
  byId('zoom-all').addEventListener('click', () => app.showSpan(app.model.first, app.model.last, true));
}

function hover(app, x, y) {
  const lines = app.scene ? describeAt(app, app.scene, x, y) : [];
  const tip = byId('tip');
  tip.hidden = lines.length === 0;
  if (!lines.length) return;
  tip.textContent = lines.join('\n');
  const left = x + 14 + tip.offsetWidth > app.scene.width ? x - tip.offsetWidth - 10 : x + 14;
  tip.style.left = `${Math.max(2, left)}px`;
  tip.style.top = `${Math.max(2, y + 14 + tip.offsetHeight > app.scene.height ? y - tip.offsetHeight - 8 : y + 14)}px`;
}

/** Connects the strip: a press centres the view there, a drag moves it. */
export function connectOverview(app) {
  const strip = byId('overview');
  const centre = (event) => {
    const at = app.model.first + (event.offsetX / strip.clientWidth) * (app.model.last - app.model.first);
    app.pan(at - (app.view.from + app.view.until) / 2);
  };
  strip.addEventListener('pointerdown', (event) => { strip.setPointerCapture(event.pointerId); centre(event); });
  strip.addEventListener('pointermove', (event) => { if (event.buttons) centre(event); });
  strip.addEventListener('wheel', (event) => { app.zoom(Math.exp(event.deltaY * 0.003)); event.preventDefault(); }, { passive: false });
}

/** Connects the keys. They are silent while text is typed. */
export function connectKeys(app) {
  byId('help-list').append(...KEYS.flatMap(([key, what]) => [el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)]));
  byId('help-open').addEventListener('click', () => byId('help').showModal());
  byId('help-close').addEventListener('click', () => byId('help').close());
  const actions = {
    '+': () => app.zoom(0.5), '=': () => app.zoom(0.5), '-': () => app.zoom(2), 0: () => app.showSpan(app.model.first, app.model.last, true), Home: () => app.toHead(), End: () => app.toTail(),
    '/': () => byId('follow').focus(), f: () => app.followSelected(), n: () => app.nextSlowest(1), p: () => app.nextSlowest(-1),
    j: () => app.nextInTime(1), k: () => app.nextInTime(-1), c: () => app.goToCause(), e: () => app.nextMark('panic'), g: () => app.nextMark('gap'),
    '?': () => byId('help').showModal(), ' ': () => app.pause(), Escape: () => app.escape(),
  };
  Object.keys(app.tabs).forEach((tab, at) => { actions[at + 1] = () => app.change({ tab }); });
  document.addEventListener('keydown', (event) => {
    const typing = event.target.matches('input:not([type=checkbox]), select, textarea');
    if (event.ctrlKey || event.metaKey || event.altKey || byId('help').open) return;
    if (typing) { if (event.key === 'Escape') event.target.blur(); return; }
    const onControl = event.target.matches('button, a, summary, input');
    if (onControl && (event.key === ' ' || event.key === 'Enter')) return;
    const arrows = { ArrowLeft: -0.15, ArrowRight: 0.15 };
    const onTab = event.target.matches('[role=tab]');
    const scrolls = event.key in arrows || event.key === 'Home' || event.key === 'End';
    if (scrolls && (onTab || event.target.closest('#panel'))) return;
    if (event.key in arrows) app.pan((app.view.until - app.view.from) * arrows[event.key]);
    else if (Object.hasOwn(actions, event.key)) actions[event.key]();
    else return;
    event.preventDefault();
  });
}
