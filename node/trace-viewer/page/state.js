// The view as the address bar holds it. Everything here is pure.

import { openFilter, OUTCOMES } from './filter.js';

/** The view of a page that was opened without one; `from` and `until` of null are the whole run. */
export function openView() {
  return {
    from: null, until: null, follow: '', filter: openFilter(), select: 0, mark: -1, tab: 'latency', sort: 'busy.p99',
    up: false, theme: '', tail: false,
  };
}

/** The view as text for the part of an address after `#`. */
export function writeView(view) {
  const said = new URLSearchParams();
  if (view.from !== null) said.set('t', `${Math.round(view.from)}-${Math.round(view.until)}`);
  if (view.follow) said.set('follow', view.follow);
  const { lanes, types, outcome, took, waited, depth, key } = view.filter;
  for (const lane of lanes) said.append('no-lane', lane);
  for (const type of types) said.append('no-type', type);
  if (outcome !== 'all') said.set('outcome', outcome);
  if (took > 0) said.set('took', took);
  if (waited > 0) said.set('waited', waited);
  if (depth > 0) said.set('depth', depth);
  if (key) said.set('key', key);
  if (view.select) said.set('id', view.select);
  if (view.mark >= 0) said.set('mark', view.mark);
  if (view.tab !== 'latency') said.set('tab', view.tab);
  if (view.sort !== 'busy.p99') said.set('sort', view.sort);
  if (view.up) said.set('up', '1');
  if (view.theme) said.set('theme', view.theme);
  if (view.tail) said.set('tail', '1');
  return said.toString();
}

/** The view that such text describes; whatever in it is not understood is left at its default. */
export function readView(text) {
  const said = new URLSearchParams(text.replace(/^#/, ''));
  const view = openView();
  const span = /^(-?\d+)-(-?\d+)$/.exec(said.get('t') ?? '');
  if (span && Number(span[2]) > Number(span[1])) {
    view.from = Number(span[1]);
    view.until = Number(span[2]);
  }
  view.follow = said.get('follow') ?? '';
  view.filter.lanes = said.getAll('no-lane');
  view.filter.types = said.getAll('no-type');
  view.filter.outcome = Object.hasOwn(OUTCOMES, said.get('outcome') ?? '') ? said.get('outcome') : 'all';
  for (const name of ['took', 'waited', 'depth']) view.filter[name] = Math.max(0, Number(said.get(name)) || 0);
  view.filter.key = said.get('key') ?? '';
  view.select = Number(said.get('id')) || 0;
  view.mark = /^\d+$/.test(said.get('mark') ?? '') ? Number(said.get('mark')) : -1;
  view.tab = /^(latency|follow|marks|compare|source)$/.test(said.get('tab') ?? '') ? said.get('tab') : 'latency';
  view.sort = /^(type|count|bad|(wait|busy|late)\.(p50|p95|p99|max))$/.test(said.get('sort') ?? '') ? said.get('sort') : 'busy.p99';
  view.up = said.get('up') === '1';
  view.theme = /^(light|dark)$/.test(said.get('theme') ?? '') ? said.get('theme') : '';
  view.tail = said.get('tail') === '1';
  return view;
}
