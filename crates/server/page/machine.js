// Shows how the machine's time is used, the latencies, the use of memory, and the meter's accuracy.

import { linear, path, resize, shape } from './chart.js';
import { UNKNOWN, bytes, count, fraction, percent, rate, residual, seconds } from './figures.js';
import { facts, fill } from './table.js';

const BUCKETS = [
  ['steps', 'computing', 'steps ran'],
  ['host', 'between steps', 'the device waited for the host'],
  ['idle', 'idle', 'no requests'],
  ['adapter_load', 'adapters', 'adapters were loaded'],
  ['warm_up', 'warm-up', 'until the server was ready'],
];
const LATENCIES = [
  ['time_to_first_token', 'first token'],
  ['inter_token', 'between tokens'],
  ['end_to_end', 'whole answer'],
  ['queue', 'waiting in line'],
];
const COEFFICIENTS = [
  ['fixed_seconds', 'step'],
  ['seconds_per_token.0', 'token of a step, of the first 16'],
  ['seconds_per_token.1', 'token, of those up to 256'],
  ['seconds_per_token.2', 'token beyond'],
  ['seconds_per_logits', "token's logits"],
  ['seconds_per_prompt_key', 'cached token read by a prompt token'],
  ['seconds_per_decode_key', 'cached token read by a decoded token'],
  ['seconds_per_adapter_byte', 'byte of an adapter and token'],
  ['seconds_per_adapter', 'adapter of a step'],
];

export function showMachine(costs) {
  showBuckets(costs);
  showTimeline(costs.recent);
  showLatency(costs);
  showMemory(costs.machine);
  showMeter(costs);
}

function showBuckets({ now, since_start: all }) {
  const window = now.window_seconds;
  const share = (name) => (window > 0 ? now.seconds[name] / window : null);
  const shown = BUCKETS.filter(([name]) => name !== 'warm_up' || now.seconds[name] > 0);
  fill(
    document.getElementById('buckets'),
    shown.map(([name, text, title]) => [
      { text, title },
      { bar: share(name) ?? 0, kind: name },
      percent(share(name)),
      seconds(now.seconds[name]),
    ]),
  );
  const { aborted, failed, warm_up: warmUp } = all.seconds;
  document.getElementById('buckets-note').textContent =
    `Of the last ${seconds(window)}. Since the start: ${seconds(aborted)} of computing for callers ` +
    `who left, ${seconds(failed)} for answers that failed, ${seconds(warmUp)} of warm-up.`;
}

function showTimeline(recent) {
  const svg = document.getElementById('timeline');
  const [height, left, top, bottom] = [130, 52, 10, 104];
  const width = resize(svg, height);
  const right = width - 8;
  const highest = Math.max(1, ...recent.map((it) => it.tokens_per_second));
  const x = linear(300, 0, left, right);
  const y = linear(0, highest, bottom, top);
  const tick = (place, content, anchor, at) =>
    shape('text', { x: place, y: at, 'text-anchor': anchor, class: 'tick' }, content);
  const line = (at) => shape('line', { x1: left, y1: at, x2: right, y2: at, class: 'grid' });
  const points = recent
    .filter((it) => it.seconds_ago <= 300)
    .map((it) => [x(it.seconds_ago), y(it.tokens_per_second)]);
  svg.replaceChildren(
    line(top),
    line(bottom),
    tick(left - 6, count(highest), 'end', top + 4),
    tick(left - 6, '0', 'end', bottom + 4),
    tick(left, '5 min ago', 'start', bottom + 20),
    tick(right, 'now', 'end', bottom + 20),
  );
  if (points.length > 1) {
    const [first, last] = [points[0][0], points.at(-1)[0]];
    const area = path([[first, bottom], ...points, [last, bottom]]);
    svg.append(shape('path', { d: `${area}Z`, class: 'area' }), shape('path', { d: path(points), class: 'curve' }));
  }
  const latest = recent.at(-1);
  document.getElementById('timeline-text').textContent = latest
    ? `Lately ${rate(latest.tokens_per_second)}, ${percent(latest.busy_share)} busy; at most ${rate(highest)}.`
    : 'Nothing measured yet.';
}

function showLatency({ latency, load }) {
  fill(
    document.getElementById('latencies'),
    LATENCIES.map(([name, text]) => {
      const it = latency[name];
      const title = it.count ? `${count(it.count)} in the last 5 minutes` : 'none in the last 5 minutes';
      const cell = (value) => ({ text: seconds(value), title });
      return [{ text, title }, cell(it.p50_seconds), cell(it.p95_seconds), cell(it.p99_seconds)];
    }),
  );
  document.getElementById('load').textContent =
    `Of the last 5 minutes, to within 3 %. Now ${count(load.running)} sequences running, ` +
    `${count(load.waiting)} waiting.`;
}

function showMemory({ memory_plan: plan, kv_cache: cache, adapters, resident_bytes: resident }) {
  const used = cache.blocks > 0 ? cache.blocks_in_use / cache.blocks : 0;
  const held = plan?.adapter_bytes > 0 ? adapters.host_bytes / plan.adapter_bytes : 1;
  const parts = plan
    ? [
        ['weights', plan.weights_bytes, 1, ''],
        ['KV cache', plan.kv_cache_bytes, used, `${percent(used)} used`],
        ['adapters', plan.adapter_bytes, held, `${count(adapters.named)} named`],
        ['workspace', plan.workspace_bytes, 1, ''],
        ['runtime', plan.runtime_bytes, 1, ''],
      ].filter(([, size]) => size > 0)
    : [];
  fill(
    document.getElementById('memory'),
    parts.map(([name, size, part, note]) => [
      name,
      { bar: size / Math.max(...parts.map((it) => it[1])), part, kind: 'memory' },
      bytes(size),
      note,
    ]),
  );
  const tokens = count(cache.blocks_in_use * cache.tokens_per_block);
  const all = count(cache.blocks * cache.tokens_per_block);
  document.getElementById('memory-note').textContent =
    `${plan ? `Planned ${bytes(plan.total_bytes)}` : `The memory's plan is ${UNKNOWN}`}; the process ` +
    `holds ${bytes(resident)} of host memory. Cache: ${count(cache.blocks_in_use)} of ` +
    `${count(cache.blocks)} blocks, ${tokens} of ${all} tokens. Adapters: ` +
    `${count(adapters.on_device)} of ${count(adapters.device_slots)} places on the device.`;
}

function showMeter({ step_model: model, residuals, basis, now }) {
  const worst = Math.max(residuals.rows, residuals.window, residuals.tokens);
  facts(document.getElementById('fit'), [
    ['R²', fraction(model.r_squared, 4), 'share of the variance of steps that is explained'],
    ['fitted to', model.fitted_to === 'calibration' ? 'steps timed at start' : 'served steps'],
    ['95 % of steps within', percent(model.residual_p95)],
    ['expected over measured', fraction(model.expected_over_measured), 'all steps since the start'],
    ['steps, coefficients', `${count(model.fitted_steps)}, ${count(model.fitted_coefficients)}`],
    ['sums differ by', residual(worst), 'the worst of three sums that have to be equal, as a share'],
  ]);
  const byTokens = now.seconds_by_tokens / now.seconds.steps;
  document.getElementById('basis').textContent =
    (basis === 'measured_device_time'
      ? "Each step's measured time is split over its rows by what this model expects of them."
      : 'The model explains too little (R² below 0.9), so each step is split by tokens.') +
    (byTokens > 0 ? ` Of the last minutes' step time, ${percent(byTokens)} was split by tokens.` : '');
  const value = (key) => key.split('.').reduce((it, part) => it[part], model);
  fill(
    document.getElementById('coefficients'),
    COEFFICIENTS.map(([key, text]) => [text, seconds(value(key))]),
  );
}
