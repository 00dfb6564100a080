// Shows the machine's cost by its utilisation, compared with vendors' prices for the same tokens.

import { linear, logarithmic, path, resize, shape, spread } from './chart.js';
import { UNKNOWN, count, percent, price, rate, usd } from './figures.js';
import { fill } from './table.js';

const svg = document.getElementById('curve');
const HEIGHT = 310;
const KINDS = { frontier: 'frontier API', hosted: 'hosted open model', endpoint: 'dedicated endpoint' };

export function showComparison(costs) {
  const { comparison } = costs;
  document.getElementById('vendors').classList.toggle('empty', !comparison);
  document.getElementById('mix').textContent = mix(comparison);
  fill(document.getElementById('rivals'), rows(costs, comparison));
  const points = comparison?.curve?.points ?? [];
  fill(
    document.getElementById('curve-points'),
    points.map((it) => [percent(it.utilization), usd(it.usd_per_million)]),
  );
  svg.replaceChildren();
  document.getElementById('curve-text').textContent = comparison
    ? text(comparison.curve)
    : 'There is none until tokens were computed.';
  svg.classList.toggle('gone', points.length === 0);
  if (points.length > 0) draw(comparison);
}

function mix(comparison) {
  if (!comparison) return 'Prices are compared as soon as tokens were computed.';
  const when = comparison.of === 'now' ? 'the last 5 minutes' : 'all time since the start';
  return (
    `The mix of ${when}: ${percent(comparison.input_share)} prompt tokens, ` +
    `${percent(comparison.cached_share)} of those cached. Vendors' tokens count as ours: ` +
    `tokenizers differ by up to a third in English. A dash is unknown, not free.`
  );
}

function text(curve) {
  if (!curve) return 'The price of this machine is not known.';
  const full = rate(curve.tokens_per_second);
  const what =
    curve.full_use === 'slo_capacity'
      ? `100 % is ${full}, what it carries within its service level.`
      : `100 % is never idle, at the ${full} that it does while busy.`;
  const { today } = curve;
  const now = today
    ? ` Now: ${percent(today.utilization)} used, ${usd(today.usd_per_million)} per million.`
    : '';
  return what + now;
}

function rows(costs, comparison) {
  if (!comparison) return [];
  const own = costs[comparison.of];
  const byKind = own.usd_per_million_tokens;
  const ours = (figure, title) => [
    { text: `this machine, ${figure.replace('_', ' ')}`, title, kind: 'own' },
    usd(byKind?.input[figure]),
    usd(byKind?.cached[figure]),
    usd(byKind?.output[figure]),
    usd(own.usd_per_million_mixed_tokens?.[figure]),
    UNKNOWN,
    UNKNOWN,
    own.usd_per_million_mixed_tokens?.[figure] === undefined ? UNKNOWN : 'measured',
  ];
  return [
    ours('busy', 'the time of the tokens themselves'),
    ours('loaded', 'with the idle time shared out'),
    ours('at_capacity', 'as if the machine carried all it can within its service level'),
    ...comparison.rivals.map(rival),
  ];
}

function rival(it) {
  const perHour = it.per_hour === undefined ? '' : `${price(it.per_hour)} an hour`;
  return [
    { text: it.name, tag: KINDS[it.kind] ?? it.kind },
    price(it.input),
    price(it.cached),
    price(it.output),
    perHour
      ? { text: perHour, title: 'How many tokens it makes of an hour is not known.' }
      : usd(it.mixed),
    breakEven(it.break_even),
    it.break_even?.reachable ? count(it.break_even.tokens_per_day) : UNKNOWN,
    {
      text: it.read_on,
      href: it.source,
      title: it.stale ? `${it.source}, read over 30 days ago or from an undated copy` : it.source,
      warning: it.stale ? 'stale' : '',
    },
  ];
}

function breakEven(it) {
  if (!it) return UNKNOWN;
  const title = it.reachable
    ? 'From this use on, this machine is cheaper.'
    : 'Even fully used, this machine is dearer.';
  return { text: percent(it.utilization), title, tag: it.reachable ? '' : 'never' };
}

function draw({ curve, rivals }) {
  const width = resize(svg, HEIGHT);
  const isNarrow = width < 560;
  const left = 52;
  const right = width - (isNarrow ? 20 : 190);
  const [top, bottom] = [14, HEIGHT - 42];
  const priced = rivals.filter((it) => it.mixed > 0);
  const shown = [
    ...curve.points.slice(1).map((it) => it.usd_per_million),
    ...priced.map((it) => it.mixed),
    curve.today?.usd_per_million ?? NaN,
  ].filter((it) => it > 0);
  const low = 10 ** Math.floor(Math.log10(Math.min(...shown)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...shown)));
  const x = linear(0, 1, left, right);
  const y = logarithmic(low, high, bottom, top);
  const inside = (value) => value >= low && value <= high;

  for (let tick = low; tick <= high * 1.001; tick *= 10) {
    svg.append(line(left, y(tick), right, y(tick), 'grid'), label(left - 6, y(tick) + 4, usdTick(tick), 'end'));
  }
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(label(x(tick), bottom + 18, `${100 * tick} %`, tick === 1 ? 'end' : 'middle'));
  }
  svg.append(label(x(0.5), bottom + 37, isNarrow ? 'use' : 'use of this machine', 'middle'));

  // On a narrow page, the lines are labelled with letters, and the names are below the chart.
  const names = priced.map((it, i) => `${letter(i)}\u00a0${shortName(it.name)}\u00a0${usd(it.mixed)}`);
  document.getElementById('curve-names').textContent = isNarrow ? names.join(' · ') : '';
  const heights = spread(priced.map((it) => y(it.mixed)), 15, bottom - 2);
  priced.forEach((it, i) => {
    svg.append(line(left, y(it.mixed), right, y(it.mixed), 'rival'));
    const text = `${shortName(it.name)} ${usd(it.mixed)}`;
    svg.append(label(right + 8, heights[i] + 4, isNarrow ? letter(i) : text, 'start', 'rival-name'));
    if (it.break_even?.reachable) {
      svg.append(shape('circle', { cx: x(it.break_even.utilization), cy: y(it.mixed), r: 3.5, class: 'crossing' }));
    }
  });

  const points = curve.points
    .filter((it) => inside(it.usd_per_million))
    .map((it) => [x(it.utilization), y(it.usd_per_million)]);
  svg.append(shape('path', { d: path(points), class: 'curve' }));
  drawToday(curve.today, x, y, { right, top });
}

function drawToday(today, x, y, { right, top }) {
  if (!today) return;
  const [cx, cy] = [x(Math.min(1, today.utilization)), Math.max(top, y(today.usd_per_million))];
  svg.append(shape('circle', { cx, cy, r: 6, class: 'today' }));
  // The curve falls, so the label fits above it to the right, or directly above it where it is flat.
  const isFlat = today.utilization > 0.5;
  const text = `now ${usd(today.usd_per_million)}`;
  svg.append(
    isFlat
      ? label(Math.min(cx, right - 36), cy - 15, text, 'middle', 'today-name')
      : label(cx + 11, cy - 9, text, 'start', 'today-name'),
  );
}

const line = (x1, y1, x2, y2, kind) => shape('line', { x1, y1, x2, y2, class: kind });

function label(x, y, content, anchor, kind = 'tick') {
  return shape('text', { x, y, 'text-anchor': anchor, class: kind }, content);
}

const usdTick = (value) => `$${value >= 1 ? value : value.toFixed(Math.round(-Math.log10(value)))}`;

const letter = (i) => String.fromCharCode('A'.charCodeAt(0) + i);

/** Shortens `openai/gpt-4o` to `gpt-4o`, and a long path to its last part. */
function shortName(name) {
  const short = name.split('/').at(-1);
  return short.length > 18 ? `${short.slice(0, 17)}…` : short;
}
