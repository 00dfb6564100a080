// Shows tokens and dollars by adapter and by tenant.

import { count, seconds, usdColumn } from './figures.js';
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
        ? { text: 'no user', title: 'requests without a user', kind: 'unnamed' }
        : { text: it.tenant },
    ),
  );
}

/** Returns the rows with the most device time, the highest first. */
function rows(totals, head) {
  const order = [...totals].sort((a, b) => b.device_seconds - a.device_seconds);
  if (order.length === 0) return [[{ text: 'no answers yet', kind: 'unnamed' }]];
  const largest = order.slice(0, MOST_ROWS);
  const [busy, loaded, atCapacity] = ['usd', 'loaded_usd', 'at_capacity_usd'].map((figure) => {
    const shown = usdColumn(largest.map((it) => it[figure]));
    return (it) => shown(it[figure]);
  });
  const shown = largest.map((it) => [
    head(it),
    count(it.choices),
    count(it.tokens.input),
    count(it.tokens.cached),
    count(it.tokens.output),
    seconds(it.device_seconds),
    busy(it),
    loaded(it),
    atCapacity(it),
  ]);
  const more = order.length - shown.length;
  if (more > 0) shown.push([{ text: `and ${more} more in /v1/costs/now`, kind: 'unnamed' }]);
  return shown;
}
