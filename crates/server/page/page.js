// The page: polls the server for the cost of tokens, and shows it.

import { showCosts, watchSpan } from './costs.js';
import { showComparison } from './curve.js';
import { price } from './figures.js';
import { showMachine } from './machine.js';
import { startPlayground } from './playground.js';
import { showUsage } from './usage.js';

const EVERY_MS = 2_000;
const PATIENCE_MS = 10_000;
const byId = (id) => document.getElementById(id);

let costs = null;
let since = null;
let timer = null;
let asking = null;
/** Stored only in this page's memory, and sent only to this server. */
let adminKey = '';

/** Runs one poll at a time; calls during a poll wait for its result. */
function poll() {
  clearTimeout(timer);
  asking ??= ask().finally(() => {
    asking = null;
    if (!document.hidden) timer = setTimeout(poll, EVERY_MS);
  });
  return asking;
}

async function ask() {
  try {
    const response = await fetch('/v1/costs/now', {
      headers: adminKey ? { Authorization: `Bearer ${adminKey}` } : {},
      signal: AbortSignal.timeout(PATIENCE_MS),
      cache: 'no-store',
    });
    if (response.status === 401) askForAdminKey();
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    costs = await response.json();
    since = new Date();
    show();
    say('live', 'Live');
  } catch (error) {
    const age = since ? `: figures are of ${since.toLocaleTimeString('en-GB')}` : '';
    say('gone', `${reason(error)}${age}`);
  }
}

/** Where callers need keys, figures are for the operator. */
function askForAdminKey() {
  byId('unlock').hidden = false;
  byId('unlock-note').textContent = 'Figures are shown to those who have the admin key.';
}

function reason(error) {
  if (error.name === 'TimeoutError') return 'The server is slow';
  return error instanceof TypeError ? 'The server does not answer' : `Not live, ${error.message}`;
}

/** Updates the text only when it changes, because screen readers announce each update. */
function say(state, text) {
  const status = byId('status');
  document.body.dataset.state = state;
  if (status.textContent !== text) status.textContent = text;
}

function show() {
  const { model, machine, price_per_hour_usd: perHour, price_is_example: isExample } = costs;
  document.title = `${model} · Farthing`;
  const dollars =
    perHour === undefined
      ? 'price unknown'
      : `${price(perHour)} an hour${isExample ? ' (an example)' : ''}`;
  byId('served').textContent = [model, machine.device, dollars].filter(Boolean).join(' · ');
  byId('version').textContent = `Farthing ${machine.version}`;
  showCosts(costs);
  showComparison(costs);
  showUsage(costs);
  showMachine(costs);
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    clearTimeout(timer);
  } else {
    poll();
  }
});
window.addEventListener('resize', () => costs && show());
watchSpan(() => costs && show());
byId('unlock').addEventListener('submit', async (event) => {
  event.preventDefault();
  adminKey = byId('admin-key').value;
  byId('admin-key').value = '';
  await asking;
  await poll();
  if (costs?.tenants === undefined) {
    adminKey = '';
    byId('unlock-note').textContent = 'That is not the admin key.';
  }
});
startPlayground();
poll();
