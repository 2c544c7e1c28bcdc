// The ladder of a recorded demo: lanes, zoom, pan, the strip over it, the pointer, mailboxes and incarnations.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addressWith, detailsOf, drawnOn, launch, nextFrame, openPage, spanNs, spanShown } from './browser.mjs';
import { TRACE, linesOf, rowsOf, view, withoutBinary } from './recording.mjs';

const LANES = ['tree', 'downloader', 'peer-manager', 'store', 'engine-api', 'rlpx', 'rpc', 'node'];
const STRIPE = '#eef3fa';
const RED = '#bf2a1c';

test('the ladder of a recorded demo', { skip: withoutBinary }, async (t) => {
  const browser = await launch();
  const served = await view(TRACE);
  t.after(async () => { await browser.close(); await served.close(); });
  const page = await openPage(browser, served.url, { colorScheme: 'light' });
  const box = await page.locator('#ladder').boundingBox();
  const whole = await spanShown(page);
  const all = async () => { await page.click('#zoom-all'); await nextFrame(page); };
  const axis = async () => (await drawnOn(page)).texts.filter(({ y, x }) => y === 9 && x > 104);

  await t.test('has a named lane for each actor and for the outside, actors with a mailbox', async () => {
    const { texts } = await drawnOn(page);
    const written = texts.filter(({ x }) => x === 8).map(({ text }) => text);
    for (const lane of LANES) assert.ok(written.includes(lane), `${lane} in ${written}`);
    assert.equal(written.filter((text) => text === 'mailbox').length, 4);
  });

  await t.test('opens on the whole run, and no label of the axis lies under the buttons', async () => {
    const moments = rowsOf(TRACE).map((row) => row.t);
    assert.ok(whole.from <= Math.min(...moments) + 1e7 && whole.until >= Math.max(...moments) - 1e7);
    const edge = (await page.locator('#zoom').boundingBox()).x;
    for (const { text, x, width } of await axis()) assert.ok(x + width <= edge, `${text} ends at ${x + width}, the buttons begin at ${edge}`);
  });

  await t.test('labels of marks do not lie over one another', async () => {
    const labels = (await drawnOn(page)).texts.filter(({ text }) => /panic|refused|gen \d|[\u25b6\u21bb\u25a0]/.test(text));
    assert.ok(labels.some(({ text }) => text.includes('panic')));
    for (const one of labels) {
      assert.ok(one.x + one.width <= box.width, `${one.text} is cut at the edge`);
      for (const other of labels) assert.ok(one === other || one.y !== other.y || one.x + one.width <= other.x || other.x + other.width <= one.x, `${one.text} over ${other.text}`);
    }
  });

  await t.test('zooms by the wheel down to microseconds around the pointer, and back', async () => {
    const x = box.x + 700;
    await page.mouse.move(x, box.y + 60);
    let span = await spanShown(page);
    const about = span.from + ((700 - 104) / (box.width - 104)) * span.ns;
    for (let turns = 0; turns < 40 && span.ns > 5e3; turns += 1) {
      await page.mouse.wheel(0, -200);
      const before = span.ns;
      span = await spanShown(page);
      assert.ok(span.ns < before, 'every turn zooms');
    }
    assert.ok(span.ns <= 5e3, `${span.ns} ns are shown`);
    assert.ok(Math.abs((span.from + span.until) / 2 - about) < whole.ns / 500, 'what the pointer was on stays under it');
    assert.match((await axis())[0].text, /^\d\.\d{6,9}s$/);
    for (let turns = 0; turns < 60 && span.ns < whole.ns; turns += 1) { await page.mouse.wheel(0, 200); span = await spanShown(page); }
    assert.ok(span.ns >= whole.ns * 0.99);
  });

  await t.test('zooms by keys and buttons, and 0 and All show the whole run', async () => {
    await all();
    await page.locator('#ladder').focus();
    for (let presses = 0; presses < 20; presses += 1) await page.keyboard.press('+');
    assert.ok((await spanShown(page)).ns < 1e4);
    await page.keyboard.press('-');
    await page.keyboard.press('0');
    assert.ok(Math.abs((await spanShown(page)).ns / whole.ns - 1) < 0.01);
    await page.click('#zoom-in');
    assert.ok(Math.abs((await spanShown(page)).ns / whole.ns - 0.5) < 0.01);
    await page.click('#zoom-out');
    assert.ok(Math.abs((await spanShown(page)).ns / whole.ns - 1) < 0.01);
  });

  await t.test('zooms into what is dragged over with Shift, as often as wanted', async () => {
    await all();
    for (let times = 0; times < 4; times += 1) {
      const before = await spanShown(page);
      await page.keyboard.down('Shift');
      await page.mouse.move(box.x + 400, box.y + 150);
      await page.mouse.down();
      await page.mouse.move(box.x + 430, box.y + 170, { steps: 3 });
      await page.mouse.up();
      await page.keyboard.up('Shift');
      const span = await spanShown(page);
      const perPx = before.ns / (box.width - 104);
      assert.ok(Math.abs(span.ns - 30 * perPx) < perPx * 2, `${span.ns} for ${30 * perPx}`);
      assert.ok(Math.abs(span.from - (before.from + (400 - 104) * perPx)) < perPx * 2);
    }
    assert.ok((await spanShown(page)).ns < 1e5);
  });

  await t.test('pans by drag, by keys and by a sideways wheel; the address follows', async () => {
    await all();
    for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press('+');
    const before = await spanShown(page);
    await page.mouse.move(box.x + 600, box.y + 250);
    await page.mouse.down();
    await page.mouse.move(box.x + 500, box.y + 250, { steps: 4 });
    await page.mouse.up();
    const dragged = await spanShown(page);
    assert.ok(Math.abs(dragged.from - before.from - (100 * before.ns) / (box.width - 104)) < before.ns / 100);
    assert.ok(Math.abs(dragged.ns - before.ns) < before.ns / 100);
    await page.keyboard.press('ArrowLeft');
    const left = await spanShown(page);
    assert.ok(left.from < dragged.from);
    await page.mouse.wheel(80, 0);
    assert.ok((await spanShown(page)).from > left.from);
    await page.keyboard.press('Home');
    assert.ok(Math.abs((await spanShown(page)).from - whole.from) < whole.ns / 100);
    await page.keyboard.press('End');
    assert.ok(Math.abs((await spanShown(page)).until - whole.until) < whole.ns / 100);
    const { from } = await spanShown(page);
    await addressWith(page, `t=${String(Math.round(from)).slice(0, 3)}\\d+-`);
  });

  await t.test('the strip shows the whole run; a press centres the view there, a drag moves it', async () => {
    await all();
    const strip = await page.locator('#overview').boundingBox();
    for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press('+');
    await page.mouse.click(strip.x + strip.width * 0.25, strip.y + 20);
    const pressed = await spanShown(page);
    assert.ok(Math.abs((pressed.from + pressed.until) / 2 - (whole.from + whole.ns * 0.25)) < whole.ns / 100);
    assert.equal(await page.getAttribute('#overview', 'aria-valuenow'), '25');
    await page.mouse.move(strip.x + strip.width * 0.25, strip.y + 20);
    await page.mouse.down();
    await page.mouse.move(strip.x + strip.width * 0.75, strip.y + 20, { steps: 4 });
    await page.mouse.up();
    await nextFrame(page);
    assert.equal(await page.getAttribute('#overview', 'aria-valuenow'), '75');
    const { frames, texts } = await drawnOn(page, 'overview');
    assert.ok(Math.abs(frames[0].x + frames[0].width / 2 - strip.width * 0.75) < 4, 'the frame is where the view is');
    assert.equal(texts.length, 2);
  });

  await t.test('a message under the pointer says what it is, and a click selects it', async () => {
    await all();
    await page.locator('#ladder').focus();
    for (const _ of [1, 2, 3]) {
      await page.keyboard.press('n');
      const name = await page.textContent('#selected-name');
      const { Id, Handling } = await detailsOf(page);
      const at = (await drawnOn(page)).frames.at(-1);
      const perNs = (box.width - 104) / (await spanShown(page)).ns;
      await page.keyboard.press('Escape');
      assert.equal(await page.locator('#selected-name').count(), 0);
      const clicked = new Set();
      // The store handles several at once: somewhere on its bar a message is alone.
      for (const share of [0.5, 0.1, 0.3, 0.7, 0.9, 0]) {
        if (clicked.has(Id)) break;
        await page.mouse.move(box.x + Math.max(at.x + 3, 104) + 0.5 + spanNs(Handling) * perNs * share, box.y + at.y + at.height / 2);
        await page.waitForSelector('#tip:not([hidden])');
        const tip = await page.textContent('#tip');
        assert.match(tip, / \u2192 .*\nwaited .*handled /);
        await page.mouse.down();
        await page.mouse.up();
        assert.equal(await page.textContent('#selected-name'), tip.split('\n')[0], 'a click selects what the tip tells of');
        clicked.add((await detailsOf(page)).Id);
      }
      assert.ok(clicked.has(Id), `${name} (${Id}) is among ${[...clicked]}`);
      assert.notEqual(await page.textContent('#said'), '');
      await addressWith(page, `[#&]id=${Id}\\b`);
    }
  });

  await t.test('a mailbox under the pointer tells its ports, their depth and their limits', async () => {
    await all();
    const bounds = linesOf(TRACE).map((line) => JSON.parse(line)).filter(({ k }) => k === 'port');
    const { texts, paths } = await drawnOn(page);
    assert.ok(paths.filter(({ colour }) => colour === RED).length >= 4, 'the limit is drawn in each mailbox');
    for (const strip of texts.filter(({ text }) => text === 'mailbox')) {
      await page.mouse.move(box.x + 600, box.y + strip.y);
      await page.waitForSelector('#tip:not([hidden])');
      const [title, ...ports] = (await page.textContent('#tip')).split('\n');
      const lane = title.replace('mailbox of ', '');
      assert.ok(LANES.slice(0, 4).includes(lane), title);
      assert.ok(ports.length > 0);
      for (const said of ports) {
        const [, name, , limit] = /^(.*): ([\d,]+) of ([\d,]+)$/.exec(said);
        assert.ok(bounds.some((port) => port.name === name && port.to === lane && port.items === Number(limit.replaceAll(',', ''))), said);
      }
    }
  });

  await t.test('every second incarnation of an actor is shaded, from its restart on', async () => {
    await all();
    const { boxes } = await drawnOn(page);
    const restarts = linesOf(TRACE).map((line) => JSON.parse(line)).filter((record) => record.k === 'restart' && record.gen === 1);
    const shades = boxes.filter((each) => each.colour === STRIPE && each.height > 20 && each.width > 0);
    assert.ok(restarts.length >= 4);
    const perNs = (box.width - 104) / whole.ns;
    for (const restart of restarts) {
      const x = 104 + (restart.t - whole.from) * perNs;
      assert.ok(shades.some((shade) => Math.abs(shade.x - x) < 3), `${restart.to} restarted at ${x}, shades from ${shades.map((shade) => Math.round(shade.x))}`);
    }
  });

  await t.test('nothing went wrong', () => assert.deepEqual(page.errors, []));
});
