// Debian's Chromium, with nothing going out of it.

import { chromium } from 'playwright-core';
import { assemble } from './serve.mjs';

const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const PATIENCE_MS = 8000;

export function launch() {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGS });
}

/**
 * A page on the url that is ready: `errors` holds whatever went wrong on it, `requests` all it asked for. With
 * PAGE_FROM_SOURCE set the page comes from its files here rather than from the binary, which then need not be built anew.
 */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  if (process.env.PAGE_FROM_SOURCE && url.startsWith('http')) {
    const { html, policy } = assemble();
    await context.route((asked) => asked.pathname === '/', (route) => route.fulfill({ contentType: 'text/html', headers: { 'content-security-policy': policy }, body: html }));
  }
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.errors = [];
  page.requests = [];
  page.on('request', (request) => page.requests.push(request.url()));
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => { if (message.type() === 'error' && !message.text().includes('404')) page.errors.push(message.text()); });
  await page.addInitScript(recordDrawing);
  await page.goto(url);
  await page.waitForSelector('html[data-ready]', { timeout: 15000 });
  await nextFrame(page);
  return page;
}

/** Waits until what was asked for is drawn. */
export const nextFrame = (page) => page.evaluate(() => new Promise((drawn) => { requestAnimationFrame(() => requestAnimationFrame(drawn)); }));

// A canvas cannot be asked what it shows: this keeps the words and boxes of the latest frame of each in `drawn`.
function recordDrawing() {
  window.drawn = {};
  const methods = CanvasRenderingContext2D.prototype;
  const wrap = (name, note) => {
    const original = methods[name];
    methods[name] = function record(...given) {
      const frame = window.drawn[this.canvas.id];
      if (frame && note) note(frame, this, given);
      return original.apply(this, given);
    };
  };
  const begin = methods.setTransform;
  methods.setTransform = function record(...given) {
    window.drawn[this.canvas.id] = { texts: [], boxes: [], frames: [], paths: [] };
    return begin.apply(this, given);
  };
  wrap('fillText', (frame, ctx, [text, x, y]) => frame.texts.push({ text, x, y, width: ctx.measureText(text).width, colour: ctx.fillStyle }));
  wrap('fillRect', (frame, ctx, [x, y, width, height]) => frame.boxes.push({ x, y, width, height, colour: ctx.fillStyle }));
  wrap('strokeRect', (frame, ctx, [x, y, width, height]) => frame.frames.push({ x, y, width, height, colour: ctx.strokeStyle }));
  wrap('stroke', (frame, ctx) => frame.paths.push({ colour: ctx.strokeStyle, width: ctx.lineWidth }));
}

/** What the latest frame of a canvas shows: `texts`, `boxes`, `frames` and `paths`. */
export async function drawnOn(page, canvas = 'ladder') {
  await nextFrame(page);
  return page.evaluate((id) => window.drawn[id], canvas);
}

/** How many messages pass the filters, as the page says. */
export const shownCount = async (page) => Number((await page.textContent('#shown')).split(' of ')[0].replaceAll(',', ''));

/** Waits until the page's view satisfies a test of the text after `#` in its address. */
export const addressWith = (page, expression) => page.waitForFunction((source) => new RegExp(source).test(decodeURIComponent(location.hash)), expression);

/** The span of time that is shown, in ns. */
export async function spanShown(page) {
  await nextFrame(page);
  const said = await page.evaluate(() => document.querySelector('#overview').getAttribute('aria-valuetext'));
  const [from, until] = said.split(' to ').map(momentNs);
  return { from, until, ns: until - from };
}

function momentNs(text) {
  const parts = text.replace(/^-|s$/g, '').split(':').map(Number);
  return (text.startsWith('-') ? -1 : 1) * parts.reduce((sum, part) => sum * 60 + part, 0) * 1e9;
}

const UNITS = { ns: 1, '\u00b5s': 1e3, ms: 1e6, s: 1e9 };

/** A span as the page writes it (`1.23ms`), in ns. */
export function spanNs(text) {
  const parts = /([\d.]+)(ns|\u00b5s|ms|s)\b/.exec(text);
  return parts ? Number(parts[1]) * UNITS[parts[2]] : NaN;
}

/** The keys of the details' list and what they say. */
export const detailsOf = (page) => page.evaluate(() => Object.fromEntries([...document.querySelectorAll('#details dt')].map((name) => [name.textContent, name.nextElementSibling.textContent])));

/** Follows by the field, as a person would. */
export async function follow(page, key) {
  await page.fill('#follow', key);
  await page.press('#follow', 'Enter');
}
