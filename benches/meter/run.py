"""Checks the accuracy of the meter. Runs four kinds of load, one after another. For each, compares the cost
of the tokens by the measured time of the steps with the prediction of the step model, which was fitted
before to other steps."""

import argparse
import concurrent.futures
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import machine
from farthing_server import FarthingServer

VOCABULARY = 30_000
TOLERANCE = 0.15


def tokens(chance: random.Random, count: int) -> list[int]:
    return [chance.randrange(5, VOCABULARY) for _ in range(count)]


def prompt_only(chance: random.Random) -> list[tuple[list[int], int]]:
    return [(tokens(chance, 200), 1) for _ in range(24)]


def decode_only(chance: random.Random) -> list[tuple[list[int], int]]:
    return [(tokens(chance, 2), 96) for _ in range(16)]


def long_context(chance: random.Random) -> list[tuple[list[int], int]]:
    return [(tokens(chance, 1600), 64) for _ in range(3)]


def mixed(chance: random.Random) -> list[tuple[list[int], int]]:
    shared = tokens(chance, 160)
    lengths = [(chance.randrange(16, 400), chance.randrange(8, 64)) for _ in range(24)]
    return [
        ((shared if i % 3 == 0 else []) + tokens(chance, prompt), new)
        for i, (prompt, new) in enumerate(lengths)
    ]


# The load's name, its requests, and how many of them run concurrently.
LOADS = [
    ("prompt-only", prompt_only, 8),
    ("decode-only", decode_only, 16),
    ("long context", long_context, 3),
    ("mixed", mixed, 12),
]


class Figures:
    """The engine's counters since the start."""

    def __init__(self, server: FarthingServer):
        metrics = server.metrics()
        costs = json.loads(server.get("/v1/costs/now"))
        self.steps = metrics["farthing_steps_total"]
        self.measured_seconds = metrics["farthing_step_seconds_total"]
        self.expected_seconds = metrics["farthing_expected_step_seconds_total"]
        self.tokens = costs["since_start"]["tokens"]
        self.residuals = costs["residuals"]


def run(server: FarthingServer, name: str, make, at_once: int, seed: int) -> dict:
    requests = make(random.Random(seed))
    before = Figures(server)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda request: server.complete(*request), requests))
    after = Figures(server)
    done = {kind: after.tokens[kind] - before.tokens[kind] for kind in after.tokens}
    measured = after.measured_seconds - before.measured_seconds
    expected = after.expected_seconds - before.expected_seconds
    return {
        "load": name,
        "steps": after.steps - before.steps,
        "tokens": done,
        "measured_seconds": measured,
        "expected_seconds": expected,
        "microseconds_per_token_measured": 1e6 * measured / sum(done.values()),
        "microseconds_per_token_expected": 1e6 * expected / sum(done.values()),
        "error": expected / measured - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds; each calibrates again")
    parser.add_argument("--note", default="", help="other load on the machine")
    parser.add_argument("--model", help="the model to serve [default: the demo]")
    args = parser.parse_args()

    report = machine.describe("python benches/meter/run.py", args.note)
    report["rounds"] = []
    flags = ["--recalibrate", *(["--model", args.model] if args.model else [])]
    for seed in range(args.rounds):
        with FarthingServer(*flags) as server:
            loads = [run(server, *load, seed) for load in LOADS]
            model = json.loads(server.get("/v1/costs/now"))["step_model"]
            residuals = Figures(server).residuals
        report["rounds"].append({"loads": loads, "step_model": model, "residuals": residuals})

    lines = machine.heading("Cost per token, measured and predicted", report)
    lines += [
        "| round | load | steps | in | cached | out | measured s | µs/token | predicted | off by |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for number, entry in enumerate(report["rounds"], 1):
        for load in entry["loads"]:
            counts = load["tokens"]
            lines.append(
                f"| {number} | {load['load']} | {load['steps']:.0f} | {counts['input']} "
                f"| {counts['cached']} | {counts['output']} | {load['measured_seconds']:.2f} "
                f"| {load['microseconds_per_token_measured']:.0f} "
                f"| {load['microseconds_per_token_expected']:.0f} | {load['error']:+.1%} |"
            )
    lines.append("")
    for number, entry in enumerate(report["rounds"], 1):
        model, residuals = entry["step_model"], entry["residuals"]
        lines.append(
            f"Round {number}: R² {model['r_squared']:.4f}, 95 % of {model['fitted_steps']} "
            f"steps within {model['residual_p95']:.1%} (fitted to {model['fitted_to']}); sums off by at most "
            f"{max(residuals.values()):.0e}."
        )
    machine.keep("meter", report, "\n".join(lines))

    errors = [abs(load["error"]) for entry in report["rounds"] for load in entry["loads"]]
    if max(errors) > TOLERANCE:
        sys.exit(f"a prediction is off by {max(errors):.1%}, more than {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
