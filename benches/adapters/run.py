"""Checks answers under load while adapters are replaced, and with many adapters. No request may fail.

    cargo build --release && pip install openai
    python benches/adapters/run.py [swap] [many]

Both scenarios serve random f32 weights of the demo's shape and random adapters, so that nothing is
downloaded and greedy answers do not depend on the last bit of a sum.

swap  32 clients send requests to one adapter without pause while its name is reassigned to other
      weights 20 times. Each answer, streamed or not, must equal word for word the answer of the
      generation that it names, and no request may fail.
many  1,000 adapters are registered, and 32 clients request 64 of them at random. The device has 8
      slots, and host memory has room for 48. Each answer must equal the one that the adapter gave
      when it ran alone.
"""

import argparse
import asyncio
import collections
import json
import pathlib
import random
import re
import sys
import tempfile
import time

import openai

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import FarthingServer
from random_adapter import write_adapter

CLIENTS = 32
SWAPS = 20
NAMED, IN_USE, SLOTS, HOST = 1000, 64, 8, 48
PROMPTS = [[101 + 7 * i, 2002, 303, 44 + i, 5] for i in range(4)]  # token ids
MAX_TOKENS = 8
ADMIN_KEY = "for this run only"
SIZE = 0.05  # standard deviation of the adapters' weights: large enough to change every answer
MODULES = frozenset({"q_proj", "v_proj"})
SEED = 7
MIB = 1 << 20


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("scenarios", nargs="*", choices=["swap", "many", []], default=[])
    args.add_argument("--requests", type=int, default=640, help="number of requests in the second scenario")
    args.add_argument("--note", default="")
    a = args.parse_args()
    scenarios = a.scenarios or ["swap", "many"]

    checks, details = [], {}
    for name in scenarios:
        with tempfile.TemporaryDirectory() as directory:
            scenario = {"swap": Swap, "many": Many}[name](pathlib.Path(directory), a.requests)
            flags = [
                "--load-format=dummy",
                "--dtype=f32",
                "--max-model-len=256",
                f"--admin-key={ADMIN_KEY}",
                f"--adapter-dir={directory}",
                *scenario.flags,
            ]
            with FarthingServer(*flags, start_timeout=300) as server:
                asyncio.run(scenario.run(server))
            checks += [(f"{name}: {what}", found, ok) for what, found, ok in scenario.checks()]
            details[name] = scenario.details

    command = f"python benches/adapters/run.py {' '.join(scenarios)}"
    report = machine.describe(command, a.note) | {
        "checks": [[what, found, passed] for what, found, passed in checks],
        **details,
    }
    lines = machine.heading("Adapters under load", report) + ["| | found | |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {'ok' if ok else 'MISSED'} |" for what, found, ok in checks]
    machine.keep("adapters", report, "\n".join(lines))
    sys.exit(0 if all(passed for *_, passed in checks) else 1)


class Scenario:
    """The clients of one server, and their findings."""

    flags: list[str] = []

    def __init__(self, directory: pathlib.Path, requests: int):
        self.directory = directory
        self.requests = requests
        self.failures: list[str] = []
        self.details: dict = {}

    async def run(self, server: FarthingServer) -> None:
        self.server = server
        self.client = openai.AsyncOpenAI(
            base_url=f"http://{server.address}/v1",
            api_key=ADMIN_KEY,
            max_retries=0,
            timeout=600,
        )
        async with self.client:
            started = time.monotonic()
            await self.play()
            self.details["seconds"] = time.monotonic() - started
            self.details["metrics"] = self.metrics()
        self.details["failures"] = self.failures[:20]

    async def load(self, name: str, path: pathlib.Path, in_place: bool = False) -> None:
        body = {"lora_name": name, "lora_path": str(path), "load_inplace": in_place}
        said = await self.client.post("/load_lora_adapter", cast_to=str, body=body)
        assert "success" in said.lower(), said

    async def ask(self, model: str, prompt: int, stream: bool) -> tuple[str, str]:
        """Returns the generation that an answer names, and its text."""
        kwargs = {
            "model": model,
            "prompt": PROMPTS[prompt],
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "extra_body": {"ignore_eos": True},
        }
        if not stream:
            answer = await self.client.completions.create(**kwargs)
            assert answer.model == model and answer.adapter["name"] == model, answer
            return answer.adapter["generation"], answer.choices[0].text
        text, generations = "", set()
        chunks = await self.client.completions.create(
            **kwargs, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in chunks:
            generations.add(chunk.adapter["generation"])
            text += "".join(choice.text for choice in chunk.choices)
        assert len(generations) == 1, f"one answer of several generations: {generations}"
        return generations.pop(), text

    def metrics(self) -> dict[str, float]:
        """Returns the adapters' metrics; a metric with a tier has it in its name."""
        page = self.server.get("/metrics")
        found = re.findall(r'^(farthing_adapter\w*)\{[^}]*?(?:tier="(\w+)")?\} (\S+)$', page, re.M)
        return {f"{name} {tier}".strip(): float(value) for name, tier, value in found}

    def resident(self) -> float:
        return self.server.memory()["VmRSS"] / MIB


class Swap(Scenario):
    flags = ["--max-adapters=4", f"--max-num-seqs={CLIENTS}"]

    async def play(self) -> None:
        paths = [
            write_adapter(self.directory / f"g{i}", 4, seed=i, size=SIZE) for i in range(2)
        ]
        # The answers of each generation when no other request runs.
        self.expected: dict[str, list[str]] = {}
        for i, path in enumerate(paths):
            await self.load(f"alone-{i}", path)
            answers = [await self.ask(f"alone-{i}", p, False) for p in range(len(PROMPTS))]
            self.expected[answers[0][0]] = [text for _, text in answers]
        self.outcomes: collections.Counter[str] = collections.Counter()
        await self.load("swapped", paths[0])
        self.is_over = False
        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(self.ask_on(number))
            for swap in range(1, SWAPS + 1):
                answered = self.outcomes.total()
                while self.outcomes.total() < answered + CLIENTS // 2:
                    await asyncio.sleep(0.01)
                await self.load("swapped", paths[swap % 2], in_place=True)
            self.is_over = True
        self.details["answers"] = dict(self.outcomes)

    async def ask_on(self, number: int) -> None:
        chooser = random.Random(SEED + number)
        while not self.is_over:
            prompt = chooser.randrange(len(PROMPTS))
            try:
                generation, text = await self.ask("swapped", prompt, chooser.random() < 0.5)
            except Exception as error:  # whatever it is, it is a finding
                self.failures.append(f"{type(error).__name__}: {error}")
                self.outcomes["failed"] += 1
                continue
            self.outcomes[generation] += 1
            if text != self.expected[generation][prompt]:
                self.failures.append(f"{generation} said {text!r} on prompt {prompt}")

    def checks(self) -> list[tuple[str, str, bool]]:
        texts = list(self.expected.values())
        differ = sum(a != b for a, b in zip(*texts))
        swaps = self.details["metrics"]["farthing_adapter_swaps_total"]
        each = ", ".join(str(self.outcomes[generation]) for generation in self.expected)
        return [
            ("prompts on which the two differ", f"{differ} of {len(PROMPTS)}", differ == len(PROMPTS)),
            ("swaps", f"{swaps:.0f}", swaps == SWAPS),
            ("answers of the one, of the other", each, min(self.outcomes.values()) > CLIENTS),
            ("failed or of mixed generations", str(len(self.failures)), not self.failures),
            ("seconds", f"{self.details['seconds']:.0f}", True),
        ]


class Many(Scenario):
    # A KV cache that the first rounds fill, so that later growth of memory is not due to its pages.
    flags = [
        f"--max-loras={SLOTS}",
        f"--max-cpu-loras={HOST}",
        f"--max-num-seqs={CLIENTS}",
        "--kv-cache-memory=0.0625",
    ]

    async def play(self) -> None:
        for i in range(NAMED):
            path = write_adapter(
                self.directory / f"a{i}", 1, seed=i, size=SIZE, modules=MODULES
            )
            await self.load(f"adapter-{i}", path)
        self.memory = [self.resident()]
        chooser = random.Random(SEED)
        in_use = chooser.sample(range(NAMED), IN_USE)
        self.alone = {}
        for i in in_use:
            self.alone[i] = await self.ask(f"adapter-{i}", 0, False)
        self.before = self.metrics()
        self.answered = 0
        for _ in range(2):
            turns = iter([chooser.choice(in_use) for _ in range(self.requests // 2)])
            async with asyncio.TaskGroup() as tasks:
                for _ in range(CLIENTS):
                    tasks.create_task(self.ask_on(turns))
            self.memory.append(self.resident())
        self.details["memory"] = self.memory

    async def ask_on(self, turns) -> None:
        for i in turns:
            try:
                said = await self.ask(f"adapter-{i}", 0, i % 2 == 0)
            except Exception as error:  # whatever it is, it is a finding
                self.failures.append(f"{type(error).__name__}: {error}")
                continue
            self.answered += 1
            if said != self.alone[i]:
                self.failures.append(f"adapter-{i} said {said}, alone {self.alone[i]}")

    def checks(self) -> list[tuple[str, str, bool]]:
        after = self.details["metrics"]
        named = sum(after[f"farthing_adapters {tier}"] for tier in ("device", "host", "disk"))
        rows = [
            ("adapters with a name", f"{named:.0f}", named == NAMED),
            ("different answers alone", str(len(set(self.alone.values()))), True),
            ("answered", f"{self.answered} of {self.requests}", self.answered == self.requests),
            ("failed or other than alone", str(len(self.failures)), not self.failures),
        ]
        for tier, limit in (("device", SLOTS), ("host", HOST)):
            hits, misses, evictions = (
                after[f"farthing_adapter_{what}_total {tier}"]
                - self.before[f"farthing_adapter_{what}_total {tier}"]
                for what in ("hits", "misses", "evictions")
            )
            capacity = after[f"farthing_adapter_capacity {tier}"]
            found = f"{hits:.0f} hits, {misses:.0f} misses, {evictions:.0f} evictions"
            rows.append((f"{tier}, {limit} places", found, capacity == limit and hits > 0))
        loaded, half, end = self.memory
        rows += [
            ("resident with all named", f"{loaded:.0f} MiB", True),
            ("resident halfway, at the end", f"{half:.0f}, {end:.0f} MiB", end <= 1.02 * half),
            ("seconds", f"{self.details['seconds']:.0f}", True),
        ]
        return rows


if __name__ == "__main__":
    main()
