// Looking on while a demo records, and at a node that runs.

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { addressWith, launch, nextFrame, openPage, shownCount, spanShown } from './browser.mjs';
import { linesOf, moorline, scratch, start, view, withoutBinary } from './recording.mjs';

const countOver = (page, count) => page.waitForFunction((least) => Number(document.querySelector('#shown').textContent.split(' of ')[0].replaceAll(',', '')) > least, count);

async function until(condition, what) {
  for (const begun = performance.now(); performance.now() - begun < 20000;) {
    if (await condition()) return;
    await new Promise((next) => { setTimeout(next, 20); });
  }
  assert.fail(`never: ${what}`);
}

/** How many rows the server has by now, asked as the page asks. */
const rowsServed = (page) => page.evaluate(async () => {
  const buffer = await (await fetch('./columns')).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))).rows;
});

async function growsAndPauses(t, page, provoke = () => {}) {
  await t.test('it grows by itself, and says how old the newest is', async () => {
    const before = await shownCount(page);
    await provoke();
    await countOver(page, before);
    await page.waitForFunction(() => /^live, newest [\d.]+\S+ ago$/.test(document.querySelector('#lag').textContent));
    assert.ok(await page.locator('#tail').isHidden(), 'it is at the end');
    await addressWith(page, 'tail=1');
  });

  await t.test('Pause stops it while more is recorded, and Go on goes on', async () => {
    await page.click('#pause');
    await nextFrame(page);
    assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'true');
    assert.equal(await page.textContent('#pause'), 'Go on');
    const held = await shownCount(page);
    await until(async () => { await provoke(); return await rowsServed(page) > held; }, 'more is recorded');
    await page.waitForFunction(() => document.querySelector('#lag').textContent === 'paused');
    assert.equal(await shownCount(page), held);
    await page.click('#pause');
    await countOver(page, held);
    assert.equal(await page.textContent('#pause'), 'Pause');
    await page.locator('#ladder').focus();
    await page.keyboard.press(' ');
    assert.equal(await page.getAttribute('#pause', 'aria-pressed'), 'true');
    await page.keyboard.press(' ');
  });

  await t.test('looking back holds the view; To the end goes along again', async () => {
    await page.keyboard.press('+');
    await page.keyboard.press('+');
    await page.keyboard.press('Home');
    const back = await spanShown(page);
    assert.ok(await page.locator('#tail').isVisible());
    const before = await shownCount(page);
    await provoke();
    await countOver(page, before);
    assert.deepEqual(await spanShown(page), back, 'what is looked at stays');
    await page.click('#tail');
    assert.ok(await page.locator('#tail').isHidden());
    const end = await spanShown(page);
    assert.ok(Math.abs(end.ns / back.ns - 1) < 0.01);
    const told = await page.getAttribute('#overview', 'aria-valuetext');
    await provoke();
    await page.waitForFunction((before) => document.querySelector('#overview').getAttribute('aria-valuetext') !== before, told);
    assert.ok((await spanShown(page)).until > end.until);
  });

  await t.test('the focus stays where it was in a table that is drawn anew', async () => {
    await page.keyboard.press('1');
    const button = page.locator('#latency-table tbody button').first();
    await button.focus();
    const at = await button.getAttribute('data-at');
    await page.evaluate(() => { window.before = document.activeElement; });
    await provoke();
    await page.waitForFunction(() => document.activeElement !== window.before);
    assert.equal(await page.evaluate(() => document.activeElement.dataset.at), at);
    assert.deepEqual(page.errors, []);
  });
}

test('a demo that still records', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const directory = scratch();
  const demo = start('demo', '--blocks', '20000', '--profile', 'small', '--datadir', directory, '--hold');
  t.after(() => demo.close());
  const trace = join(directory, 'trace');
  await until(() => existsSync(trace) && readdirSync(trace).length > 0 && linesOf(trace).length > 1, 'the demo records');
  const served = await view(trace);
  t.after(async () => { await browser.close(); await served.close(); });
  const page = await openPage(browser, served.url);
  await growsAndPauses(t, page);
});

test('a node that runs', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const directory = scratch();
  const genesis = join(directory, 'genesis.json');
  moorline('chain', 'generate', '--blocks', '10', '--genesis', genesis, join(directory, 'chain.rlp'));
  const node = start('node', '--chain', genesis, '--addr', '127.0.0.1', '--port', '0', '--authrpc.port', '0', '--http.port', '0',
    '--datadir', join(directory, 'data'), '--trace-listen', '127.0.0.1:0');
  t.after(() => node.close());
  const [, url] = await node.said(/the trace is shown at (http:\S+)/);
  const [, rpc] = await node.said(/JSON-RPC clients read it at (http:\S+)/);
  t.after(() => browser.close());
  const ask = async () => {
    const answer = await fetch(rpc, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_getBlockByNumber', params: ['latest', false] }) });
    assert.equal(answer.status, 200);
  };
  const page = await openPage(browser, url);
  await growsAndPauses(t, page, ask);

  await t.test('a viewer elsewhere shows it too, and both say when the node is gone', async () => {
    const served = await view(url);
    const other = await openPage(browser, served.url);
    await ask();
    await countOver(other, await shownCount(other));
    await node.close();
    await page.waitForFunction(() => document.querySelector('#lag').textContent === 'no answer from the server');
    assert.deepEqual(other.errors, []);
    await served.close();
  });
});
