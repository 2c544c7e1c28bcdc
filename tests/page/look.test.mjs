// What a view looks like and how it is reached: the address bar, themes, contrast, names of controls, the keyboard.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressWith, drawnOn, follow, launch, openPage, shownCount } from './browser.mjs';
import { contrast } from '../../node/trace-viewer/page/colours.js';
import { serve } from './serve.mjs';
import { MOORLINE, TRACE, view } from './recording.mjs';

const LEAST_CONTRAST = 4.5;

/** Every piece of text that is shown: its colour, and that of the nearest ground below it. */
const textColours = (page) => page.evaluate(() => {
  const found = new Map();
  const solid = (colour) => !/^rgba\(.*, 0\)$/.test(colour);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const owner = text.parentElement;
    if (!text.data.trim() || !owner.checkVisibility() || owner.closest('script, style')) continue;
    let ground = owner;
    while (ground && !solid(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    found.set(`${getComputedStyle(owner).color} on ${getComputedStyle(ground).backgroundColor}`, `${owner.tagName} ${text.data.trim().slice(0, 30)}`);
  }
  for (const field of document.querySelectorAll('input[placeholder]')) found.set(`${getComputedStyle(field, '::placeholder').color} on ${getComputedStyle(field).backgroundColor}`, `placeholder of ${field.id}`);
  return [...found];
});

const hex = (rgb) => `#${rgb.match(/\d+/g).slice(0, 3).map((part) => Number(part).toString(16).padStart(2, '0')).join('')}`;
const variable = (page, name) => page.evaluate((each) => getComputedStyle(document.documentElement).getPropertyValue(`--${each}`).trim(), name);
const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

test(`views of ${MOORLINE ? 'a recorded demo' : 'made-up columns'}`, async (t) => {
  const browser = await launch();
  const served = await (MOORLINE ? view(TRACE) : serve());
  t.after(async () => { await browser.close(); await served.close(); });

  await t.test('the address brings everything back in a new page', async () => {
    const page = await openPage(browser, served.url, { colorScheme: 'light' });
    const known = await page.locator('#types-list label').first().textContent();
    await follow(page, MOORLINE ? '300' : '1050');
    await page.click('#lanes-menu > summary');
    await page.locator('#lanes-list label', { hasText: /^rpc$/ }).locator('input').click();
    await page.click('#types-menu > summary');
    await page.locator('#types-list label').first().locator('input').click();
    for (const [field, text] of [['took', '1us'], ['waited', '1us'], ['depth', '1']]) { await page.fill(`#${field}`, text); await page.press(`#${field}`, 'Enter'); }
    await page.click('[data-tab=latency]');
    await page.getByRole('button', { name: 'Sort by wait p95', exact: true }).click();
    await page.getByRole('button', { name: 'Sort by wait p95', exact: true }).click();
    await page.locator('#latency-table tbody button').first().click();
    await page.click('#zoom-in');
    await page.click('#theme');
    await addressWith(page, '(?=.*t=\\d)(?=.*follow=)(?=.*no-lane=rpc)(?=.*no-type=)(?=.*took=1000)(?=.*waited=1000)(?=.*depth=1)(?=.*id=)(?=.*sort=wait\\.p95)(?=.*up=1)(?=.*theme=dark)');
    const state = async (each) => ({
      shown: await each.textContent('#shown'), selected: await each.textContent('#details'), table: await each.textContent('#panel'),
      fields: await each.locator('input:not([type=checkbox]), select').evaluateAll((all) => all.map((field) => field.value)),
      boxes: await each.locator('input[type=checkbox]').evaluateAll((all) => all.map((box) => box.checked)),
      sort: await each.locator('#latency-table th[aria-sort]').evaluateAll((all) => all.map((head) => head.textContent + head.ariaSort)),
      tab: await each.locator('[aria-selected=true]').textContent(), ground: await ground(each), axis: await each.getAttribute('#overview', 'aria-valuetext'),
      drawn: (await drawnOn(each)).texts.map(({ text }) => text),
    });
    const before = await state(page);
    assert.ok(known && before.boxes.includes(false) && before.selected.includes('Outcome'));
    const again = await openPage(browser, page.url(), { colorScheme: 'light' });
    assert.deepEqual(await state(again), before);
    await page.click('[data-tab=marks]');
    await addressWith(page, 'tab=marks');
    await page.goBack();
    await page.waitForSelector('#latency-table');
    assert.equal(await page.textContent('#shown'), before.shown);
    assert.deepEqual([...page.errors, ...again.errors], []);
    for (const each of [page, again]) await each.context().close();
  });

  await t.test('the theme is that of the system until the button is pressed', async () => {
    const page = await openPage(browser, served.url, { colorScheme: 'light' });
    const light = await ground(page);
    await page.emulateMedia({ colorScheme: 'dark' });
    const dark = await ground(page);
    assert.notEqual(dark, light);
    assert.equal((await drawnOn(page)).boxes[0].colour, await variable(page, 'panel'), 'the canvas goes along');
    await page.getByRole('button', { name: 'Light', exact: true }).click();
    assert.equal(await ground(page), light);
    assert.equal((await drawnOn(page)).boxes[0].colour, await variable(page, 'panel'));
    await page.emulateMedia({ colorScheme: 'light' });
    await page.getByRole('button', { name: 'Dark', exact: true }).click();
    assert.equal(await ground(page), dark);
    await page.context().close();
  });

  for (const colorScheme of ['light', 'dark']) {
    await t.test(`all text can be read, ${colorScheme}`, async () => {
      const page = await openPage(browser, served.url, { colorScheme });
      await page.locator('#ladder').focus();
      const pairs = new Map();
      for (const keys of [['n'], ['f'], ['e', '3'], ['4'], ['5']]) {
        for (const key of keys) await page.keyboard.press(key);
        for (const [pair, where] of await textColours(page)) pairs.set(pair, where);
      }
      await page.fill('#follow', 'nonsense!');
      await page.press('#follow', 'Enter');
      await page.click('#types-menu > summary');
      for (const [pair, where] of await textColours(page)) pairs.set(pair, where);
      assert.ok(pairs.size >= 5, `${[...pairs.keys()]}`);
      for (const [pair, where] of pairs) {
        const [text, below] = pair.split(' on ').map(hex);
        assert.ok(contrast(text, below) >= LEAST_CONTRAST, `${where}: ${text} on ${below} is ${contrast(text, below).toFixed(2)}`);
      }
      for (const text of ['ink', 'muted', 'bad', 'accent', 'select', 'path']) {
        for (const below of ['paper', 'panel', 'stripe', 'hover']) {
          const is = contrast(await variable(page, text), await variable(page, below));
          assert.ok(is >= LEAST_CONTRAST, `${text} on ${below} is ${is.toFixed(2)}`);
        }
      }
      await page.keyboard.press('Escape');
      await page.context().close();
    });
    await t.test(`words on bars can be read, ${colorScheme}`, async () => {
      const page = await openPage(browser, served.url, { colorScheme });
      await page.locator('#ladder').focus();
      let seen = 0;
      for (let times = 0; times < 12; times += 1) {
        await page.keyboard.press('n');
        for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press('+');
        const { texts, boxes } = await drawnOn(page);
        for (const word of texts.filter(({ y }) => !Number.isInteger(y))) {
          const bar = boxes.findLast(({ x, y, width, height }) => height >= 12 && height < 20 && x <= word.x && x + width > word.x && y <= word.y && y + height > word.y);
          if (!bar) continue;
          seen += 1;
          assert.ok(contrast(word.colour, bar.colour) >= LEAST_CONTRAST, `${word.text}: ${word.colour} on ${bar.colour}`);
        }
      }
      assert.ok(seen >= 3, `${seen} words`);
      await page.context().close();
    });
  }

  await t.test('every control has a name, the canvases a role, and what is selected is told', async () => {
    const page = await openPage(browser, served.url);
    const cdp = await page.context().newCDPSession(page);
    const named = async () => {
      const { nodes } = await cdp.send('Accessibility.getFullAXTree');
      const controls = nodes.filter(({ ignored, role }) => !ignored && /^(button|textbox|combobox|link|tab|slider|checkbox|application|dialog|tabpanel|search|DisclosureTriangle|tablist)$/.test(role?.value));
      for (const { role, name } of controls) if (role.value !== 'search') assert.ok(name?.value?.trim(), `a ${role.value} has no name`);
      return controls.map(({ role, name }) => `${role.value}: ${name?.value}`);
    };
    await page.click('#types-menu > summary');
    const names = await named();
    assert.ok(names.length > 40, `${names}`);
    assert.ok(names.some((name) => name.startsWith('application: Ladder of messages')));
    assert.ok(names.some((name) => name.startsWith('slider: Part of the run')));
    await page.locator('#ladder').focus();
    for (const key of ['n', 'f', '3', '5', '?']) { await page.keyboard.press(key); await named(); }
    await page.keyboard.press('Escape');
    assert.equal(await page.getAttribute('#said', 'aria-live'), 'polite');
    assert.equal(await page.getAttribute('#ladder', 'aria-describedby'), 'said');
    assert.match(await page.textContent('#said'), /, waited .*, handled /);
    assert.equal(await page.locator('[tabindex]').evaluateAll((all) => Math.max(...all.map((each) => each.tabIndex))), 0, 'the order of the keyboard is that of the page');
    await page.context().close();
  });

  await t.test('the keyboard alone reaches everything, and keeps its place in a table that is sorted', async () => {
    const page = await openPage(browser, served.url);
    const reached = new Set();
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press('Tab');
      reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.closest('[id]')?.id));
    }
    for (const id of ['follow', 'theme', 'save', 'outcome', 'took', 'key', 'clear', 'overview', 'ladder', 'zoom-in', 'tabs', 'panel', 'latency-table']) assert.ok(reached.has(id), `${id} in ${[...reached]}`);
    const sort = page.getByRole('button', { name: 'Sort by wait max', exact: true });
    await sort.focus();
    await page.keyboard.press('Enter');
    assert.ok(await sort.evaluate((button) => button === document.activeElement));
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('#latency-table th', { has: sort }).getAttribute('aria-sort'), 'ascending');
    await page.context().close();
  });

  await t.test('on a telephone nothing sticks out, and the filters unfold', async () => {
    const page = await openPage(browser, served.url, { viewport: { width: 390, height: 844 } });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is not wider than the screen');
    assert.ok(await page.locator('#outcome').isHidden());
    await page.click('#toggle-filters');
    await page.selectOption('#outcome', 'bad');
    assert.ok(await shownCount(page) > 0);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    const small = await page.locator('header button:visible, #zoom button').evaluateAll((all) => all.filter((each) => each.clientHeight < 28).map((each) => each.id));
    assert.deepEqual(small, []);
    assert.deepEqual(page.errors, []);
  });
});
