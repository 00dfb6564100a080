"""Runs a mixed load with idle gaps, disconnects, adapters, prefix hits and a SIGKILL, then checks the bill.

    cargo build --release && pip install openai pyarrow
    python benches/invoice/run.py [--seconds 600] [--clients 12] [--postgres URL]

Starts `target/release/farthing` with a new ledger: a SQLite file or, with `--postgres`, a new database
on the server that the URL names. Halfway, the process is killed. Another process continues with the same
ledger, and SIGTERM ends it. The script records what the clients received, and compares it with the ledger
afterwards:

- every answer that a client received has a row with the same tokens, seconds and dollars, except for
  answers of the last moment before the kill (one flush interval and the time of a flush: 1 s here);
- identity 1: in the run that shut down cleanly, the rows' seconds add up to the seconds of the steps;
- identity 2: the lines of the invoice add up to the price of the window, and the window is as long as
  the processes ran;
- identity 3: unit prices times tokens equal the cost of the served tokens;
- CSV and Parquet exports have the same rows (read by pyarrow);
- if there is a PostgreSQL server, both databases give the same invoice for the same rows.
"""

import argparse
import asyncio
import collections
import csv
import decimal
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import openai
import pyarrow.parquet

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from databases import copy_of, new_database
from farthing_server import BINARY, FarthingServer
from soak.run import ADAPTERS, sentence, write_adapter

Decimal = decimal.Decimal
PRICE = Decimal("36.00")
FLAGS = ["--max-num-seqs=32", "--max-model-len=1024", "--kv-cache-memory=0.25"]
TENANTS = ["ann", "bob", "cho", None]
SEED = 11
PERIOD_SECONDS = 20.0
IDLE_SECONDS = 5.0  # at the end of each period
KILL_SLACK_SECONDS = 1.0
TOLERANCE = Decimal("1e-9")


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--clients", type=int, default=12)
    args.add_argument("--seconds", type=float, default=600)
    args.add_argument("--postgres", metavar="URL")
    args.add_argument("--note", default="")
    a = args.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        ledger = new_database(a.postgres) if a.postgres else str(directory / "ledger.sqlite3")
        flags = [*FLAGS, f"--price-per-hour={PRICE}", f"--ledger={ledger}"]
        for name, rank in ADAPTERS.items():
            flags.append(f"--adapter={name}={write_adapter(directory / name, rank)}")
        load = Load(a.clients)
        up = 0.0
        for is_last in (False, True):
            server = FarthingServer(*flags, start_timeout=180)
            asyncio.run(load.run(server, a.seconds / 2))
            if is_last:
                server.process.send_signal(signal.SIGTERM)
            else:
                load.killed_at = time.time()
                server.process.send_signal(signal.SIGKILL)
            server.process.wait(timeout=60)
            up += time.perf_counter() - server.started_at
            time.sleep(2)
        books = Books(ledger, directory)
        checks = compare(load, books, up)
        if a.postgres:
            invoice = Books(copy_of(ledger, directory / "copy.sqlite3"), directory).invoice
            same = invoice == books.invoice
            checks.append(("SQLite gives the same invoice", "yes" if same else "no", same))

    command = f"python benches/invoice/run.py --clients {a.clients} --seconds {a.seconds:g}"
    database = "PostgreSQL" if a.postgres else "SQLite"
    report = machine.describe(command + (" --postgres URL" if a.postgres else ""), a.note) | {
        "database": database,
        "flags": FLAGS,
        "outcomes": dict(load.outcomes),
        "invoice": books.invoice,
        "checks": [[what, found, passed] for what, found, passed in checks],
    }
    machine.keep(f"invoice-{database.lower()}", report, table(report, books.text, checks))
    sys.exit(0 if all(passed for *_, passed in checks) else 1)


class Load:
    """The clients and what they received."""

    def __init__(self, clients: int):
        self.clients = clients
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.told: dict[str, dict] = {}  # the keys are the answers' ids
        self.killed_at = 0.0

    async def run(self, server: FarthingServer, seconds: float) -> None:
        started = time.monotonic()
        base = server.model()
        client = openai.AsyncOpenAI(
            base_url=f"http://{server.address}/v1", api_key="none", max_retries=0, timeout=300
        )
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.clients):
                chooser = random.Random(SEED + number + int(seconds))
                tasks.create_task(self.client(client, base, chooser, started, seconds))
        # The connections stay open: the process is killed while some answers are still in progress.
        self.open = client

    async def client(self, client, base, chooser, started, seconds) -> None:
        while (now := time.monotonic() - started) < seconds:
            idle = PERIOD_SECONDS - now % PERIOD_SECONDS
            if idle <= IDLE_SECONDS and seconds - now > idle:
                await asyncio.sleep(idle)
                continue
            left = seconds - now
            try:
                request = self.request(client, base, chooser)
                self.outcomes[await asyncio.wait_for(request, max(left, 0.1))] += 1
            except TimeoutError:
                self.outcomes["running at the end"] += 1
            except openai.APIStatusError as refusal:
                self.outcomes[f"refused with {refusal.status_code}"] += 1
                await asyncio.sleep(chooser.uniform(0.1, 0.5))

    async def request(self, client, base: str, chooser: random.Random) -> str:
        """Sends one request and returns how it ended."""
        kwargs = {
            "model": chooser.choice([base, base, *ADAPTERS]),
            "prompt": sentence(chooser),
            "max_tokens": chooser.randint(1, 48),
            "temperature": chooser.choice([0.0, 0.8]),
            "seed": chooser.randrange(1 << 30),
            "n": chooser.choice([1, 1, 1, 2]),
        }
        tenant = chooser.choice(TENANTS)
        if tenant:
            kwargs["user"] = tenant
        fault = chooser.random()
        if fault < 0.03:
            kwargs["model"] = "no-such-model"
        elif fault < 0.06:
            kwargs["max_tokens"] = 5000
        if chooser.random() < 0.5:
            answer = await client.completions.create(**kwargs)
            self.hear(answer.id, answer.usage, kwargs)
            return "answered"
        patience = chooser.randint(0, 12) if chooser.random() < 0.4 else None
        stream = await client.completions.create(
            **kwargs, stream=True, stream_options={"include_usage": True}
        )
        chunks = 0
        async with stream:
            async for chunk in stream:
                chunks += 1
                if patience is not None and chunks > patience:
                    return "hung up"
                if chunk.usage:
                    self.hear(chunk.id, chunk.usage, kwargs)
        return "answered, streamed"

    def hear(self, id: str, usage, kwargs: dict) -> None:
        self.told[id] = {
            "at": time.time(),
            "tenant": kwargs.get("user", ""),
            "model": kwargs["model"],
            "tokens": (
                usage.prompt_tokens,
                usage.prompt_tokens_details.cached_tokens,
                usage.completion_tokens,
            ),
            "seconds": usage.cost["device_seconds"],
            "usd": usage.cost["usd"],
        }


class Books:
    """Reads the ledger through the command line."""

    def __init__(self, ledger: str, directory: pathlib.Path):
        self.ledger = ledger
        self.invoice = json.loads(
            self.ask("invoice", "--json", "--group-by=tenant,model"), parse_float=Decimal
        )
        self.invoice["end_time"] = None  # the present
        self.text = self.ask("invoice", "--group-by=tenant")
        table = directory / "rows.csv"
        self.ask("export", "--format=csv", f"--out={table}")
        with open(table, newline="") as lines:
            self.rows = list(csv.DictReader(lines))
        parquet = directory / "rows.parquet"
        self.ask("export", "--format=parquet", f"--out={parquet}")
        self.parquet = pyarrow.parquet.read_table(parquet).to_pylist()

    def ask(self, what: str, *flags: str) -> str:
        command = [str(BINARY), "ledger", what, f"--ledger={self.ledger}", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def lines(self, *items: str) -> list[dict]:
        return [line for line in self.invoice["lines"] if line["item"] in items]

    def seconds(self, *items: str) -> Decimal:
        return sum((Decimal(line["total"]["device_seconds"]) for line in self.lines(*items)), Decimal())


def compare(load: Load, books: Books, up: float) -> list[tuple[str, str, bool]]:
    """Returns (what, found, passed) of each check."""
    checks = []

    def check(what: str, found: str, passed: bool) -> None:
        checks.append((what, found, passed))

    by_id = {row["request_id"]: row for row in books.rows}
    check("rows, distinct", f"{len(books.rows)}, {len(by_id)}", len(books.rows) == len(by_id) > 0)
    kill = load.killed_at
    lost = [told for id, told in load.told.items() if id not in by_id]
    late = [told for told in lost if 0 <= kill - told["at"] <= KILL_SLACK_SECONDS]
    check(
        "answers told, of them without a row, of these in the last second before the kill",
        f"{len(load.told)}, {len(lost)}, {len(late)}",
        len(lost) == len(late),
    )
    wrong = [id for id, told in load.told.items() if id in by_id and not same(told, by_id[id])]
    check("rows that differ from what was told", f"{len(wrong)} {wrong[:3]}", not wrong)
    outcomes = collections.Counter(row["outcome"] for row in books.rows)
    expected = {"stop", "length", "abort", "refused"}
    check("outcomes", str(dict(outcomes)), expected <= outcomes.keys() and not outcomes["error"])
    cached = sum(int(row["cached_tokens"]) for row in books.rows)
    check("prefix hits, in tokens", str(cached), cached > 0)

    # Identity 1: all step time of the last run is attributed to a row.
    in_flight = books.seconds("in_flight")
    requests = books.seconds("served", "aborted", "failed")
    check(
        "identity 1: steps of no row, in s, of those in rows; lost by the kill",
        f"{in_flight}, {requests}; {books.seconds('lost')}",
        abs(in_flight) <= TOLERANCE * requests,
    )
    # Identity 2.
    window = books.invoice["window"]
    usd = Decimal(window["usd"])
    at_price = Decimal(window["device_seconds"]) * PRICE / 3600
    lines = sum(Decimal(line["total"]["usd"]) for line in books.invoice["lines"])
    check(
        "identity 2: invoice, its lines, window x price, in USD",
        f"{usd:.9f}, {lines:.9f}, {at_price:.9f}",
        abs(lines - usd) <= TOLERANCE * usd and abs(at_price - usd) <= TOLERANCE * usd,
    )
    seconds = Decimal(window["device_seconds"])
    check(
        "window, processes up (from exec to end), in s",
        f"{seconds:.3f}, {up:.3f}",
        0 <= up - float(seconds) <= 6,
    )
    # Identity 3.
    kinds = {"input": Decimal(), "cached": Decimal(), "output": Decimal()}
    tokens = dict.fromkeys(kinds, 0)
    served = Decimal()
    for line in books.lines("served"):
        served += Decimal(line["total"]["usd"])
        tokens["input"] += line["input_tokens"] - line["cached_tokens"]
        tokens["cached"] += line["cached_tokens"]
        tokens["output"] += line["output_tokens"]
        for kind in kinds:
            kinds[kind] += Decimal(line[kind]["usd"])
    prices = {kind: kinds[kind] / tokens[kind] if tokens[kind] else Decimal() for kind in kinds}
    bill = sum(prices[kind] * tokens[kind] for kind in kinds)
    per_million = {kind: f"{price * 1_000_000:.4f}" for kind, price in prices.items()}
    check(
        f"identity 3: {per_million} USD per million x {tokens}, served, in USD",
        f"{bill:.12f}, {served:.12f}",
        abs(bill - served) <= TOLERANCE * served,
    )
    cells = [{name: cell(name, value) for name, value in row.items()} for row in books.parquet]
    texts = [{name: cell(name, value or None) for name, value in row.items()} for row in books.rows]
    check("rows of CSV and Parquet", f"{len(texts)}, {len(cells)}", texts == cells)
    return checks


def same(told: dict, row: dict) -> bool:
    """Compares an answer with its row digit by digit; the answer has 12 digits of its cost."""
    tokens = tuple(int(row[name]) for name in ("input_tokens", "cached_tokens", "output_tokens"))
    usd = Decimal(row["cost_usd"]).quantize(Decimal("1e-12"), decimal.ROUND_HALF_EVEN)
    return (
        told["tokens"] == tokens
        and Decimal(repr(told["seconds"])) == Decimal(row["device_seconds"])
        and Decimal(repr(told["usd"])) == usd
        and told["tenant"] == row["tenant"]
        and told["model"] == row["model"]
    )


def cell(name: str, value):
    """Converts CSV's text and Parquet's typed values to the same form."""
    if value is None:
        return None
    if name.endswith("_at"):
        return value if isinstance(value, str) else value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if name == "cost_usd":
        return Decimal(value).quantize(Decimal("1e-20"), decimal.ROUND_HALF_EVEN)
    if name in ("queue_seconds", "ttft_seconds", "itl_p50_seconds", "itl_p95_seconds"):
        # Two shortest decimal forms of the same double may differ in their last digit.
        return float(value)
    if name.endswith(("_usd", "_seconds", "_tokens")) or name in ("run", "status"):
        return Decimal(value)
    return value


def table(report: dict, invoice: str, checks: list[tuple[str, str, bool]]) -> str:
    lines = machine.heading(f"Invoice, {report['database']}", report)
    lines += ["| | found | |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {'ok' if ok else 'MISSED'} |" for what, found, ok in checks]
    lines += ["", "| requests | |", "|---|--:|"]
    lines += [f"| {outcome} | {n} |" for outcome, n in sorted(report["outcomes"].items())]
    return "\n".join([*lines, "", "```", invoice.rstrip(), "```"])


if __name__ == "__main__":
    main()
