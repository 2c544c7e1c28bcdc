// Following by hash, number, peer and session on a recorded demo, held against `moorline trace follow`.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { addressWith, detailsOf, drawnOn, follow, launch, openPage, shownCount, spanNs } from './browser.mjs';
import { TRACE, followed, moorline, rowsOf, scratch, view, withoutBinary } from './recording.mjs';

const PARTS = ['queue', 'handling', 'asynchronous', 'network', 'others'];

async function summaryOf(page) {
  const text = await page.textContent('#path-summary');
  const [, hops, naming, steps] = /: ([\d,]+) hops, ([\d,]+) name it; critical path of (\d+) hops/.exec(text);
  const parts = Object.fromEntries((await page.locator('#panel p .part').allTextContents()).map((part) => [part.split(' ')[0], spanNs(part)]));
  const number = (each) => Number(each.replaceAll(',', ''));
  return { hops: number(hops), naming: number(naming), steps: number(steps), total: spanNs(text.split('hops, ').at(-1)), parts };
}

// The page writes three digits.
const near = (said, exact) => Math.abs(said - exact) <= Math.max(1, exact * 0.0051);

async function compare(page, key, directory) {
  const cli = followed(key, directory);
  await follow(page, key);
  await addressWith(page, `follow=${key}(&|$)`);
  const shown = await summaryOf(page);
  assert.deepEqual([shown.hops, shown.naming, shown.steps], [cli.hops, cli.naming, cli.steps], `hops, naming and steps of ${key}`);
  assert.equal(await shownCount(page), cli.hops, 'only its causal tree is left');
  assert.equal(await page.locator('#path-table tbody tr').count(), cli.steps);
  let total = 0;
  for (const part of PARTS) {
    const exact = cli.sum[`${part}_ns`];
    total += exact;
    assert.ok(near(shown.parts[part] ?? 0, exact), `${part} of ${key}: ${shown.parts[part]} and ${exact}`);
  }
  assert.ok(near(shown.total, total), `${key} took ${shown.total} and ${total}`);
  return cli;
}

test('following on a recorded demo', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const served = await view(TRACE);
  t.after(async () => { await browser.close(); await served.close(); });
  const page = await openPage(browser, served.url);
  const rows = rowsOf(TRACE);
  const total = await shownCount(page);
  const keys = rows.map((row) => row.key).filter(Boolean);
  const some = (values, count) => { const all = [...new Set(values)].sort(); return all.filter((_, at) => at % Math.ceil(all.length / count) === 0); };
  const hashes = some(keys.flatMap((key) => [key.h, ...(key.hs ?? [])]).filter(Boolean), 6);

  await t.test('by number it finds what the command finds, with the same critical path', async () => {
    const numbers = some(keys.flatMap(({ n, to }) => [n, to]).filter((n) => n > 0), 5).map(String);
    for (const number of [...numbers, '1', '300']) assert.ok((await compare(page, number, TRACE)).hops > 5);
  });
  await t.test('by hash', async () => {
    for (const hash of hashes) assert.ok((await compare(page, hash, TRACE)).hops > 2);
  });
  await t.test('by the beginning of a hash, when it is one of a kind', async () => {
    const [hash] = hashes;
    await follow(page, hash);
    const { hops } = await summaryOf(page);
    await follow(page, hash.slice(0, 18));
    assert.equal((await summaryOf(page)).hops, hops);
  });
  await t.test('by peer', async () => {
    for (const peer of some(keys.map((key) => key.p).filter(Boolean), 4)) await compare(page, peer, TRACE);
  });
  await t.test('by session', async () => {
    for (const session of some(keys.map((key) => key.s).filter((s) => s !== undefined), 4)) await compare(page, `s${session}`, TRACE);
  });

  await t.test('the path of a stored block ends on disk, is drawn, and its hops can be gone to', async () => {
    const cli = await compare(page, '300', TRACE);
    assert.ok(cli.sum.queue_ns > 0 && cli.sum.handling_ns > 0);
    const steps = page.locator('#path-table tbody tr td:first-child button');
    assert.match(await steps.last().textContent(), /::Persisted$/);
    const pink = await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue('--path').trim());
    assert.ok((await drawnOn(page)).paths.some(({ colour, width }) => colour === pink && width === 2.5));
    const name = await steps.nth(1).textContent();
    await steps.nth(1).click();
    assert.equal(await page.textContent('#selected-name'), name);
  });

  await t.test('what is selected can be followed by f and by its button, and Stop ends it', async () => {
    await page.click('#unfollow');
    assert.equal(await shownCount(page), total);
    await follow(page, hashes[0]);
    await page.locator('#path-table tbody button').last().click();
    const { Id } = await detailsOf(page);
    await page.click('#unfollow');
    await page.locator('#ladder').focus();
    await page.keyboard.press('f');
    assert.ok(await shownCount(page) < total);
    assert.ok(await page.locator('#path-table tbody tr').count() > 0);
    await page.click('#unfollow');
    await page.locator('#details button', { hasText: /^Follow / }).first().click();
    assert.ok(await shownCount(page) < total);
    assert.equal((await detailsOf(page)).Id, Id);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    assert.equal(await shownCount(page), total);
  });

  await t.test('what no record names, and what is no key, is said', async () => {
    for (const [key, said] of [['4999999', /Nothing in this trace names/], [`0x${'ab'.repeat(32)}`, /No record names/], ['nonsense!', /Not a key/]]) {
      await follow(page, key);
      await page.waitForSelector('#alert:not([hidden])');
      assert.match(await page.textContent('#alert'), said);
    }
    await page.click('#unfollow');
    assert.ok(await page.locator('#alert').isHidden());
    assert.deepEqual(page.errors, []);
  });

  await t.test('a page that was saved opens from disk, without a network, and follows', async (st) => {
    const folder = scratch();
    const download = page.waitForEvent('download');
    await page.click('#save');
    await (await download).saveAs(join(folder, 'saved.html'));
    moorline('trace', 'view', TRACE, '--out', join(folder, 'written.html'));
    for (const name of ['saved.html', 'written.html']) {
      assert.doesNotMatch(readFileSync(join(folder, name), 'utf8'), /(src|href)="https?:/);
      const saved = await openPage(browser, `file://${join(folder, name)}`, { offline: true });
      assert.equal(await shownCount(saved), total);
      await compare(saved, '300', TRACE);
      await compare(saved, hashes.at(-1), TRACE);
      assert.ok(await saved.locator('#save').isHidden());
      assert.deepEqual(saved.requests.filter((url) => !url.startsWith('file:') && !url.startsWith('data:')), []);
      assert.deepEqual(saved.errors, []);
      await saved.context().close();
    }
  });
});
