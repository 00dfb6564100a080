"""Measures how often the demo's adapters and the base model answer held-out cases exactly.

    cargo build --release
    python benches/adapters/score.py [--cases 300]

Starts `target/release/farthing` with the demo and its adapters, and sends the same questions to the
base model and to the adapter, over HTTP and with greedy sampling. An answer is correct if it equals
the expected text character by character. The cases come from `models/adapters/*.py`; their held-out
sentences, names and numbers never occur in training. The interval is Wilson's 95 % score interval.
Exits with status 1 if an adapter misses its goal.
"""

import argparse
import concurrent.futures
import decimal
import importlib
import itertools
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import FarthingServer

sys.path.insert(0, str(machine.PROJECT / "models" / "adapters"))

GOALS = {"payment-json": 0.95, "address-lines": 0.90}
CLIENTS = 32
SEED = 1  # differs from the seed of the cases on which the recipes were tuned


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--cases", type=int, default=300)
    args.add_argument("--device", default="auto")
    args.add_argument("--out", type=pathlib.Path, help="path of the results, without .json and .md")
    args.add_argument("--note", default="")
    a = args.parse_args()

    scores = []
    flags = ["--price-per-hour=0.1", f"--device={a.device}"]
    with FarthingServer(*flags, start_timeout=120) as server:
        for adapter in GOALS:
            cases = held_out(adapter, a.cases)
            scores += [score(server, model, adapter, cases) for model in (server.model(), adapter)]

    report = machine.describe(f"python benches/adapters/score.py --cases {a.cases}", a.note)
    report["scores"] = scores
    lines = machine.heading("Held-out score of the demo's adapters", report)
    lines += [
        "| task | model | exactly right | of | share (95 % interval) | USD per 1,000 answers |",
        "|---|---|---:|---:|---|---:|",
    ]
    for row in scores:
        low, high = row["interval"]
        lines.append(
            f"| {row['task']} | {row['model']} | {row['right']} | {row['cases']} "
            f"| {row['share']:.1%} ({low:.1%} to {high:.1%}) | {row['usd_per_thousand']} |"
        )
    machine.keep("adapter-scores", report, "\n".join(lines), a.out)
    missed = [
        f"{row['model']}: {row['share']:.1%} is less than {GOALS[row['model']]:.0%}"
        for row in scores
        if row["share"] < GOALS.get(row["model"], 0)
    ]
    sys.exit("\n".join(missed) or None)


def held_out(adapter: str, count: int) -> list[tuple[str, str]]:
    task = importlib.import_module(adapter.replace("-", "_"))
    return list(itertools.islice(task.cases("held_out", SEED), count))


def score(server: FarthingServer, model: str, task: str, cases: list[tuple[str, str]]) -> dict:
    def ask(case: tuple[str, str]) -> dict:
        prompt, _ = case
        return server.chat({
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": 120,
        })  # fmt: skip

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(ask, cases))
    told = [answer["choices"][0]["message"]["content"] for answer in answers]
    wrong = [
        {"prompt": prompt, "wanted": wanted, "said": said}
        for (prompt, wanted), said in zip(cases, told)
        if said != wanted
    ]
    right = len(cases) - len(wrong)
    cost = sum(decimal.Decimal(str(answer["usage"]["cost"]["usd"])) for answer in answers)
    return {
        "task": task,
        "model": model,
        "cases": len(cases),
        "right": right,
        "share": right / len(cases),
        "interval": wilson(right, len(cases)),
        "usd_per_thousand": str(round(cost * 1000 / len(cases), 6)),
        "wrong": wrong[:10],
    }


def wilson(right: int, cases: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns Wilson's score interval of a proportion (E. B. Wilson, 1927)."""
    share = right / cases
    middle = share + z * z / (2 * cases)
    half = z * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return (middle - half) / (1 + z * z / cases), (middle + half) / (1 + z * z / cases)


if __name__ == "__main__":
    main()
