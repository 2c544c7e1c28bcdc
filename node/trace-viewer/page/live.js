// Following a node that runs: what is new is asked for again and again, until the person pauses.

import { applyChanges } from './decode.js';

const RETRY_MS = 2000;
// A page that spends more than this share of its time on news would stutter.
const LEAST_PAUSE_MS = 250;

/** Polls for changes as long as the source is live. `app.takeNews()` is told of each that brought something. */
export async function followLive(app) {
  while (app.model.live) {
    if (app.paused) { await sleep(LEAST_PAUSE_MS); continue; }
    try {
      const { generation, version } = app.model;
      const answer = await fetch(`./changes?generation=${generation}&version=${version}`);
      const buffer = answer.ok && answer.status !== 204 ? await answer.arrayBuffer() : null;
      const begun = performance.now();
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      if (buffer && !app.paused) {
        if (!applyChanges(app.model, buffer)) await app.reload();
        else if (app.model.changed) app.takeNews();
      }
      app.connected(true);
      await sleep(Math.max(LEAST_PAUSE_MS, 4 * (performance.now() - begun)));
    } catch {
      app.connected(false);
      await sleep(RETRY_MS);
    }
  }
  app.connected(true);
}

function sleep(ms) {
  return new Promise((wake) => { setTimeout(wake, ms); });
}
