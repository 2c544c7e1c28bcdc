// How times, counts and outside text are written. Everything here is pure.

// Text from outside can hold control and direction marks that would reorder what stands beside it.
const UNRULY = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Outside text made fit to stand in a line of ours. */
export function tame(text) {
  return String(text ?? '').replace(UNRULY, '\u00b7').slice(0, 400);
}

/** A span in nanoseconds, in the unit that leaves three digits or so. */
export function formatSpan(ns) {
  if (!Number.isFinite(ns)) return '\u2013';
  const size = Math.abs(ns);
  if (size < 1e3) return `${Math.round(ns)}ns`;
  if (size < 1e6) return `${digits(ns / 1e3)}\u00b5s`;
  if (size < 1e9) return `${digits(ns / 1e6)}ms`;
  if (size < 6e10) return `${digits(ns / 1e9)}s`;
  const seconds = Math.round(ns / 1e9);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${pad(seconds % 60)}s`;
  return `${Math.floor(minutes / 60)}h${pad(minutes % 60)}m`;
}

function digits(value) {
  const size = Math.abs(value);
  if (size < 9.995) return value.toFixed(2);
  return size < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

function pad(value, width = 2) {
  return String(value).padStart(width, '0');
}

/** A moment of the run, with as many decimals as `resolution_ns` needs to tell neighbours apart. */
export function formatMoment(ns, resolution_ns = 1) {
  const sign = ns < 0 ? '-' : '';
  const whole = Math.abs(ns);
  const decimals = Math.max(0, Math.min(9, Math.ceil(9 - Math.log10(Math.max(1, resolution_ns)) - 1e-9)));
  const unit = 10 ** (9 - decimals);
  const ticks = Math.round(whole / unit);
  const perSecond = 10 ** decimals;
  const seconds = Math.floor(ticks / perSecond);
  const fraction = decimals ? `.${pad(ticks % perSecond, decimals)}` : '';
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  if (hours) return `${sign}${hours}:${pad(minutes)}:${pad(seconds % 60)}${fraction}`;
  if (minutes) return `${sign}${minutes}:${pad(seconds % 60)}${fraction}`;
  return `${sign}${seconds}${fraction}s`;
}

/** 1234567 as 1,234,567. */
export function formatCount(count) {
  return Number.isFinite(count) ? Math.round(count).toString().replace(/\B(?=(\d{3})+$)/g, ',') : '\u2013';
}

export function formatBytes(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1048576) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1048576).toFixed(1)} MiB`;
}

export function formatShare(share) {
  return Number.isFinite(share) ? `${(share * 100).toFixed(share < 0.1 ? 1 : 0)}%` : '\u2013';
}

const UNITS = { ns: 1, us: 1e3, '\u00b5s': 1e3, '\u03bcs': 1e3, ms: 1e6, s: 1e9, m: 6e10, h: 3.6e12 };

/** `5ms`, `1.5 s`, `200us`; a bare number is milliseconds. 0 for nothing, NaN for what is no span. */
export function parseSpan(text) {
  const trimmed = text.trim().toLowerCase();
  if (!trimmed) return 0;
  const parts = /^(\d+(?:\.\d+)?)\s*(ns|us|\u00b5s|\u03bcs|ms|s|m|h)?$/.exec(trimmed);
  return parts ? Number(parts[1]) * UNITS[parts[2] ?? 'ms'] : NaN;
}

/** The part of a message's name that tells it from its siblings. */
export function shortName(type) {
  const cut = type.indexOf('::');
  return cut < 0 ? type : type.slice(cut + 2);
}

/** A hash that still can be told from others by eye. */
export function shortHash(hash) {
  return hash.length > 20 ? `${hash.slice(0, 10)}\u2026${hash.slice(-6)}` : hash;
}
