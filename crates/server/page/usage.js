// Tokens and dollars by adapter and by tenant.

import { count, seconds, usd } from './figures.js';
import { fill } from './table.js';

const MOST_ROWS = 30;

export function showUsage(costs) {
  const { model: base, models, tenants } = costs;
  fill(
    document.getElementById('models'),
    rows(models, (it) => ({ text: it.model, tag: it.model === base ? 'base' : '' })),
  );
  document.getElementById('tenants-table').hidden = tenants === undefined;
  document.getElementById('unlock').hidden = tenants !== undefined;
  fill(
    document.getElementById('tenants'),
    rows(tenants ?? [], (it) =>
      it.tenant === null
        ? { text: 'nobody named', title: 'requests without a user', kind: 'unnamed' }
        : { text: it.tenant },
    ),
  );
}

/** The dearest first. */
function rows(totals, head) {
  const order = [...totals].sort((a, b) => b.device_seconds - a.device_seconds);
  if (order.length === 0) return [[{ text: 'no answers yet', kind: 'unnamed' }]];
  const shown = order.slice(0, MOST_ROWS).map((it) => [
    head(it),
    count(it.choices),
    count(it.tokens.input),
    count(it.tokens.cached),
    count(it.tokens.output),
    seconds(it.device_seconds),
    usd(it.usd),
    usd(it.loaded_usd),
  ]);
  const more = order.length - shown.length;
  if (more > 0) shown.push([{ text: `and ${more} more in /v1/costs/now`, kind: 'unnamed' }]);
  return shown;
}
