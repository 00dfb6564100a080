// Sends prompts to the server, and shows each answer with its cost.

import { count, seconds, usd } from './figures.js';

const MOST_ANSWERS = 10;
const byId = (id) => document.getElementById(id);
let running = null;

export function startPlayground() {
  byId('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!running) ask();
  });
  byId('stop').addEventListener('click', () => running?.abort());
  byId('prompt').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) byId('ask').requestSubmit();
  });
  byId('model').addEventListener('focus', listModels);
  byId('api-key').addEventListener('change', listModels);
  listModels();
}

async function listModels() {
  const select = byId('model');
  try {
    const response = await fetch('/v1/models', { headers: authorization() });
    if (response.status === 401) {
      byId('key-field').hidden = false;
      say('This server asks for an API key.');
      return;
    }
    const names = (await response.json()).data.map((card) => card.id);
    const known = [...select.options].map((option) => option.value);
    if (names.join('\n') === known.join('\n')) return;
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) select.value = chosen;
  } catch {
    say('The models cannot be listed: the server does not answer.');
  }
}

/** The key is stored only in the form, and sent only to this server. */
function authorization() {
  const key = byId('api-key').value;
  return key ? { Authorization: `Bearer ${key}` } : {};
}

const say = (text) => {
  byId('ask-status').textContent = text;
};

async function ask() {
  const prompt = byId('prompt').value;
  const model = byId('model').value;
  const answer = newAnswer(model, prompt);
  running = new AbortController();
  setBusy(true);
  say('Answering');
  try {
    await stream(model, prompt, answer, running.signal);
    say('Done');
  } catch (error) {
    if (running.signal.aborted) {
      answer.cost.textContent = 'Stopped: what was computed until then counts as aborted.';
      say('Stopped');
    } else {
      answer.cost.textContent = error.message;
      answer.item.classList.add('failed');
      say('Failed');
    }
  } finally {
    running = null;
    setBusy(false);
  }
}

function setBusy(isBusy) {
  byId('send').disabled = isBusy;
  byId('stop').disabled = !isBusy;
  (isBusy ? byId('stop') : byId('send')).focus({ preventScroll: true });
}

async function stream(model, prompt, answer, signal) {
  const began = performance.now();
  let firstToken = null;
  const response = await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...authorization() },
    signal,
    body: JSON.stringify({
      model,
      messages: [{ role: 'user', content: prompt }],
      max_tokens: byId('max-tokens').valueAsNumber,
      temperature: byId('temperature').valueAsNumber,
      user: 'playground',
      stream: true,
      stream_options: { include_usage: true },
    }),
  });
  if (!response.ok) throw new Error(await failure(response));
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new Error(chunk.error.message);
    const text = chunk.choices?.[0]?.delta?.content;
    if (text) {
      firstToken ??= (performance.now() - began) / 1000;
      answer.text.append(text);
    }
    if (chunk.usage) answer.cost.textContent = cost(chunk.usage, firstToken);
  }
}

/** Returns the server's message for a rejected request. */
async function failure(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

/** Yields the JSON of each server-sent event, up to `[DONE]`. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error('The answer broke off.');
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data: ')) continue;
      const data = line.slice('data: '.length).trim();
      if (data === '[DONE]') return;
      yield JSON.parse(data);
    }
  }
}

function cost(usage, firstToken) {
  const { usd: busy, loaded_usd: loaded, at_capacity_usd: atCapacity } = usage.cost;
  const dollars =
    busy === undefined
      ? 'no dollars: the price of this machine is not known'
      : `${usd(busy)} busy, ${usd(loaded)} loaded, ${usd(atCapacity)} at capacity`;
  const cached = usage.prompt_tokens_details.cached_tokens;
  return (
    `${dollars} · ${seconds(usage.cost.device_seconds)} of the device · ${count(usage.prompt_tokens)} tokens in ` +
    `(${count(cached)} cached), ${count(usage.completion_tokens)} out · first token after ` +
    `${seconds(firstToken)}`
  );
}

/** Adds the elements for an answer, above the earlier answers. */
function newAnswer(model, prompt) {
  const item = document.createElement('li');
  const add = (kind, content = '') => {
    const element = document.createElement('p');
    element.className = kind;
    element.textContent = content;
    item.append(element);
    return element;
  };
  add('asked', `${model}: ${prompt}`);
  const answer = { item, text: add('answered'), cost: add('note') };
  const list = byId('answers');
  list.prepend(item);
  while (list.children.length > MOST_ANSWERS) list.lastElementChild.remove();
  return answer;
}
