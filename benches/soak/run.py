"""Runs 64 clients for two minutes, with random lengths, cancels and adapters. Nothing may leak.

    cargo build --release && pip install openai
    python benches/soak/run.py [--clients 64] [--seconds 120]

Starts `target/release/farthing` with the demo, three random adapters, a KV cache too small for all
clients, and a queue shorter than the number of clients, so that there are also preemptions and
rejections. Afterwards:

- no request has failed, except with status 429;
- no request runs or waits, and all blocks are free, as at the start;
- the attributed seconds equal the seconds of all steps within a relative 1e-9;
- the resident memory of the last quarter equals that of the second quarter within 2 %.
"""

import argparse
import asyncio
import collections
import pathlib
import random
import sys
import tempfile
import time

import openai

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import FarthingServer
from random_adapter import write_adapter

ADAPTERS = {"adapter-a": 4, "adapter-b": 8, "adapter-c": 16}  # name: rank
FLAGS = ["--max-num-seqs=32", "--max-queue=56", "--max-model-len=1024", "--kv-cache-memory=0.12"]
WORDS = "the river runs past old stone houses while people talk of rain and bread".split()
SEED = 7
DRAIN_SECONDS = 60
MIB = 1 << 20


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--clients", type=int, default=64)
    args.add_argument("--seconds", type=float, default=120)
    args.add_argument("--note", default="")
    a = args.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        adapters = [
            f"--adapter={name}={write_adapter(pathlib.Path(directory) / name, rank)}"
            for name, rank in ADAPTERS.items()
        ]
        with FarthingServer(*FLAGS, *adapters, start_timeout=120) as server:
            soak = Soak(server, a.clients, a.seconds)
            asyncio.run(soak.run())

    command = f"python benches/soak/run.py --clients {a.clients} --seconds {a.seconds:g}"
    checks = soak.checks()
    report = machine.describe(command, a.note) | {
        "flags": FLAGS,
        "outcomes": dict(soak.outcomes),
        "failures": soak.failures[:20],
        "before": soak.before,
        "after": soak.after,
        "memory": soak.memory,
        "checks": [[what, found, passed] for what, found, passed in checks],
    }
    machine.keep("soak", report, table(report, checks))
    sys.exit(0 if all(passed for *_, passed in checks) else 1)


class Soak:
    """The clients, the outcomes of their requests, and the server's memory over time."""

    def __init__(self, server: FarthingServer, clients: int, seconds: float):
        self.server = server
        self.clients = clients
        self.seconds = seconds
        self.base = server.model()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.memory: list[tuple[float, float]] = []  # seconds, resident MiB
        self.before = server.metrics()
        self.after: dict[str, float] = {}

    async def run(self) -> None:
        started = time.monotonic()
        deadline = started + self.seconds
        client = openai.AsyncOpenAI(
            base_url=f"http://{self.server.address}/v1",
            api_key="none",
            max_retries=0,
            timeout=300,
        )
        async with client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watch(started, deadline))
            for number in range(self.clients):
                tasks.create_task(self.client(client, random.Random(SEED + number), deadline))
        self.after = await self.drained()

    async def watch(self, started: float, deadline: float) -> None:
        while time.monotonic() < deadline:
            self.memory.append((time.monotonic() - started, self.server.memory()["VmRSS"] / MIB))
            await asyncio.sleep(1)

    async def drained(self) -> dict[str, float]:
        """Returns the metrics once no request runs or waits, or after DRAIN_SECONDS."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while True:
            metrics = await asyncio.to_thread(self.server.metrics)
            busy = metrics["vllm:num_requests_running"] + metrics["vllm:num_requests_waiting"]
            if busy == 0 or time.monotonic() > deadline:
                return metrics
            await asyncio.sleep(0.2)

    async def client(self, client, chooser: random.Random, deadline: float) -> None:
        while time.monotonic() < deadline:
            try:
                self.outcomes[await self.request(client, chooser)] += 1
            except openai.RateLimitError as refusal:
                self.outcomes["refused with 429"] += 1
                if "retry-after" not in refusal.response.headers:
                    self.fail("a 429 without Retry-After")
                await asyncio.sleep(chooser.uniform(0.5, 2.0))
            except Exception as error:  # whatever it is, it is a finding
                self.fail(f"{type(error).__name__}: {error}")

    def fail(self, what: str) -> None:
        self.outcomes["failed"] += 1
        self.failures.append(what)

    async def request(self, client, chooser: random.Random) -> str:
        """Sends one request and returns how it ended."""
        model = chooser.choice([self.base, *ADAPTERS])
        text = sentence(chooser)
        kwargs = {
            "model": model,
            "max_tokens": chooser.randint(1, 160),
            "temperature": chooser.choice([0.0, 0.8]),
            "seed": chooser.randrange(1 << 30),
            "n": chooser.choice([1, 1, 1, 2]),
        }
        if chooser.random() < 0.5:
            create = client.chat.completions.create
            kwargs["messages"] = [{"role": "user", "content": text}]
        else:
            create = client.completions.create
            kwargs["prompt"] = text
        cancels = chooser.random() < 0.25
        if chooser.random() < 0.6:
            patience = chooser.randint(0, 30) if cancels else None
            return await self.streamed(create, kwargs, patience)
        if cancels:
            try:
                await asyncio.wait_for(create(**kwargs), chooser.uniform(0.05, 3.0))
            except (TimeoutError, openai.APITimeoutError):
                return "cancelled while waiting"
            return "complete before its cancel"
        answer = await create(**kwargs)
        self.look_at(kwargs, [choice.finish_reason for choice in answer.choices], answer.usage)
        return "complete"

    async def streamed(self, create, kwargs: dict, patience: int | None) -> str:
        """`patience` is the number of chunks after which the client disconnects."""
        stream = await create(**kwargs, stream=True, stream_options={"include_usage": True})
        reasons, usage, chunks = [], None, 0
        async with stream:
            async for chunk in stream:
                chunks += 1
                if patience is not None and chunks > patience:
                    return "cancelled while streaming"
                reasons += [c.finish_reason for c in chunk.choices if c.finish_reason]
                usage = chunk.usage or usage
        self.look_at(kwargs, reasons, usage)
        return "complete, streamed"

    def look_at(self, kwargs: dict, reasons: list[str], usage) -> None:
        """Checks the fields that every complete answer must have."""
        if len(reasons) != kwargs["n"] or not set(reasons) <= {"stop", "length"}:
            self.fail(f"n = {kwargs['n']}, but finish reasons {reasons}")
        if usage is None or not 0 < usage.completion_tokens <= kwargs["n"] * kwargs["max_tokens"]:
            self.fail(f"n, max_tokens = {kwargs['n']}, {kwargs['max_tokens']}, but usage {usage}")

    def checks(self) -> list[tuple[str, str, bool]]:
        """Returns (what, found, passed) of each check."""
        before, after = self.before, self.after
        busy = [after["vllm:num_requests_running"], after["vllm:num_requests_waiting"]]
        free = [before["farthing_free_blocks"], after["farthing_free_blocks"]]
        steps = after["farthing_step_seconds_total"]
        attributed = after["farthing_attributed_seconds_total"]
        error = abs(attributed - steps) / steps
        quarter = len(self.memory) // 4
        resident = [mib for _, mib in self.memory]
        second, last = (max(resident[quarter * i : quarter * (i + 1)]) for i in (1, 3))
        answered = sum(n for outcome, n in self.outcomes.items() if outcome.startswith("complete"))
        return [
            ("requests answered", str(answered), answered > self.clients),
            ("requests failed", str(len(self.failures)), not self.failures),
            ("running, waiting at the end", f"{busy[0]:.0f}, {busy[1]:.0f}", busy == [0, 0]),
            (
                "free blocks before, after, of all",
                f"{free[0]:.0f}, {free[1]:.0f}, {after['farthing_total_blocks']:.0f}",
                free[0] == free[1] == after["farthing_total_blocks"],
            ),
            (
                "seconds of steps, attributed",
                f"{steps:.6f}, {attributed:.6f}, off by {error:.1e}",
                error <= 1e-9,
            ),
            (
                "resident in the second, last quarter",
                f"{second:.0f}, {last:.0f} MiB",
                last <= 1.02 * second,
            ),
        ]


def sentence(chooser: random.Random) -> str:
    """Returns a prompt of up to about 300 tokens; half of them share a prefix, for the prefix cache."""
    shared = WORDS * 4 if chooser.random() < 0.5 else []
    return " ".join(shared + chooser.choices(WORDS, k=chooser.randint(1, 240)))


def table(report: dict, checks: list[tuple[str, str, bool]]) -> str:
    lines = machine.heading("Soak", report) + ["| | found | |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {'ok' if ok else 'MISSED'} |" for what, found, ok in checks]
    lines += ["", "| requests | |", "|---|--:|"]
    lines += [f"| {outcome} | {n} |" for outcome, n in sorted(report["outcomes"].items())]
    after = report["after"]
    lines += [
        "",
        f"{after['vllm:generation_tokens_total']:.0f} tokens generated in"
        f" {after['farthing_steps_total']:.0f} steps,"
        f" {after['vllm:num_preemptions_total']:.0f} preemptions,"
        f" {after['vllm:prefix_cache_hits_total']:.0f} prompt tokens from the prefix cache.",
    ]
    lines += [f"\n- {failure}" for failure in report["failures"]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
