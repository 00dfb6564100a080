// Experiments: the list, the report of one, and votes on its pairs of answers.

const PATIENCE_MS = 60_000;
const byId = (id) => document.getElementById(id);

/** Stored only in this page's memory, and sent only to this server. */
let adminKey = '';
let chosen = null;
let pairs = [];

async function ask(path, options = {}) {
  const response = await fetch(path, {
    ...options,
    headers: {
      ...(options.body ? { 'Content-Type': 'application/json' } : {}),
      ...(adminKey ? { Authorization: `Bearer ${adminKey}` } : {}),
    },
    signal: AbortSignal.timeout(PATIENCE_MS),
    cache: 'no-store',
  });
  if (response.status === 401) byId('unlock').hidden = false;
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message ?? `the server answered ${response.status}`);
  }
  return response;
}

async function list() {
  try {
    const { data } = await (await ask('/v1/experiments')).json();
    byId('list').replaceChildren(...data.map(row));
    byId('none').hidden = data.length > 0;
    byId('unlock').hidden = true;
    byId('status').textContent = data.length === 1 ? 'One experiment' : `${data.length} experiments`;
    if (data.length > 0) await choose(data[0].id);
  } catch (error) {
    byId('status').textContent = reason(error);
  }
}

function reason(error) {
  if (error.name === 'TimeoutError') return 'The server is slow';
  return error instanceof TypeError ? 'The server does not answer' : error.message;
}

function row(experiment) {
  const cells = [
    experiment.id,
    experiment.route,
    experiment.baseline,
    experiment.candidate + (experiment.is_rolled_back ? ' (rolled back)' : ''),
    experiment.design,
    experiment.started,
  ];
  const names = ['experiment', 'route', 'today', 'candidate', 'design', 'since', 'report'];
  const line = document.createElement('tr');
  line.setAttribute('role', 'row');
  const show = document.createElement('button');
  show.type = 'button';
  show.textContent = 'Show';
  show.setAttribute('aria-label', `Show the report of ${experiment.id}`);
  show.addEventListener('click', () => choose(experiment.id));
  [...cells, show].forEach((content, index) => {
    const cell = document.createElement(index === 0 ? 'th' : 'td');
    cell.setAttribute('role', index === 0 ? 'rowheader' : 'cell');
    if (index === 0) cell.scope = 'row';
    cell.dataset.label = names[index];
    cell.append(content);
    line.append(cell);
  });
  return line;
}

async function choose(id) {
  chosen = id;
  const path = `/v1/experiments/${encodeURIComponent(id)}`;
  try {
    const text = await (await ask(`${path}/report?format=text`)).text();
    if (chosen !== id) return;
    byId('report-title').textContent = `Report of ${id}`;
    byId('text').textContent = text;
    byId('report').hidden = false;
    ({ data: pairs } = await (await ask(`${path}/pairs`)).json());
    showPair();
  } catch (error) {
    byId('status').textContent = reason(error);
  }
}

function showPair() {
  const pair = pairs[0];
  byId('votes').hidden = pair === undefined;
  if (pair === undefined) return;
  byId('left-over').textContent = pairs.length === 1 ? 'One pair is left.' : `${pairs.length} pairs are left.`;
  byId('question').textContent = pair.question;
  byId('left').textContent = pair.left;
  byId('right').textContent = pair.right;
}

async function vote(choice) {
  const pair = pairs.shift();
  if (pair === undefined) return;
  try {
    const body = JSON.stringify({ request_id: pair.request_id, choice });
    await ask(`/v1/experiments/${encodeURIComponent(chosen)}/votes`, { method: 'POST', body });
    byId('vote-status').textContent = 'Counted.';
  } catch (error) {
    byId('vote-status').textContent = reason(error);
  }
  showPair();
}

/** A link could not send the admin key. */
async function saveWhole() {
  try {
    const path = `/v1/experiments/${encodeURIComponent(chosen)}/report?format=html`;
    const page = await (await ask(path)).blob();
    const link = document.createElement('a');
    link.href = URL.createObjectURL(page);
    link.download = `${chosen}.html`;
    link.click();
    URL.revokeObjectURL(link.href);
  } catch (error) {
    byId('status').textContent = reason(error);
  }
}

byId('whole').addEventListener('click', saveWhole);
for (const button of document.querySelectorAll('[data-choice]')) {
  button.addEventListener('click', () => vote(button.dataset.choice));
}
byId('unlock').addEventListener('submit', (event) => {
  event.preventDefault();
  adminKey = byId('admin-key').value;
  byId('admin-key').value = '';
  list();
});
list();
