"""Checks whether a meter whose calibration was disturbed learns from the steps that it serves. Starts
Farthing while other processes use the machine's cores in bursts, runs the mixed load of `farthing bench`
against it while they continue, and records R² and `basis` over time."""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import machine
from farthing_server import BINARY, FarthingServer

BURSTS = """
import random, sys, time
mean = float(sys.argv[1])
while True:
    until = time.perf_counter() + random.expovariate(1 / mean)
    while time.perf_counter() < until:
        pass
    time.sleep(random.expovariate(1 / mean))
"""
LOAD = [
    "--random-input-len=260",
    "--random-range-ratio=0.9",
    "--random-output-len=48",
    "--max-concurrency=8",
    "--num-warmups=2",
    "--ignore-eos",
]


class Bursts:
    """Processes that alternate between computing and sleeping."""

    def __init__(self, count: int, mean_seconds: float):
        command = [sys.executable, "-c", BURSTS, str(mean_seconds)]
        self.processes = [subprocess.Popen(command) for _ in range(count)]

    def __enter__(self) -> "Bursts":
        return self

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def look(server: FarthingServer, began: float, chance: random.Random) -> dict:
    costs = json.loads(server.get("/v1/costs/now"))
    prompt = [chance.randrange(5, 30_000) for _ in range(16)]
    answer = server.complete(prompt, 4)
    model, spent = costs["step_model"], costs["since_start"]
    return {
        "second": time.perf_counter() - began,
        "basis": costs["basis"],
        "basis_of_an_answer": answer["usage"]["cost"]["basis"],
        "step_model": model,
        "step_seconds": spent["seconds"]["steps"],
        "seconds_by_tokens": spent["seconds_by_tokens"],
        "residuals": costs["residuals"],
    }


def meter_line(server: FarthingServer) -> str:
    return re.search(r"meter\s+(.*)", "".join(server.output))[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="duration of the load in seconds")
    parser.add_argument("--every", type=float, default=15, help="seconds between two samples")
    parser.add_argument("--busy", type=int, default=8, help="number of other processes that use the cores")
    parser.add_argument("--burst", type=float, default=0.3, help="mean length of a burst in seconds")
    parser.add_argument("--note", default="", help="other load on the machine")
    parser.add_argument("--model", help="the model to serve [default: the demo]")
    args = parser.parse_args()

    report = machine.describe("python benches/meter/refit.py", args.note)
    report |= {"busy": args.busy, "burst_seconds": args.burst, "load": LOAD}
    model = [*(["--model", args.model] if args.model else [])]
    chance = random.Random(0)
    with Bursts(args.busy, args.burst):
        with FarthingServer("--recalibrate", *model, start_timeout=120) as server:
            report["at_start"] = meter_line(server)
            asked = ",".join(it["id"] for it in json.loads(server.get("/v1/models"))["data"][:2])
            bench = subprocess.Popen(
                [
                    *[str(BINARY), "bench", "--base-url", f"http://{server.address}"],
                    *["--model", asked, "--duration", str(args.seconds), *LOAD],
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            began = time.perf_counter()
            report["looks"] = []
            while bench.poll() is None:
                report["looks"].append(look(server, began, chance))
                time.sleep(args.every)
            report["bench"] = bench.stdout.read()
    with FarthingServer(*model, start_timeout=120) as server:
        report["at_next_start"] = meter_line(server)

    lines = machine.heading("R² and basis after a disturbed start", report)
    lines += [
        f"{args.busy} other processes compute and sleep in turn, {args.burst} s each on average, from before the",
        "start to the end of the load, which is the base model and an adapter at random:",
        f"`farthing bench --duration {args.seconds} {' '.join(LOAD)}`.",
        "",
        f"At start: {report['at_start']}",
        "",
        "| second | R² | 95 % within | judged by | fitted to | refits | split by tokens so far | basis "
        "| an answer's |",
        "|--:|--:|--:|--:|---|--:|--:|---|---|",
    ]
    for seen in report["looks"]:
        fit = seen["step_model"]
        by_tokens = seen["seconds_by_tokens"] / max(seen["step_seconds"], 1e-9)
        lines.append(
            f"| {seen['second']:.0f} | {fit['r_squared']:.3f} | {fit['residual_p95']:.0%} "
            f"| {fit['fitted_steps']} | {fit['fitted_to']} | {fit['refits']} | {by_tokens:.0%} "
            f"| {seen['basis']} | {seen['basis_of_an_answer']} |"
        )
    last = report["looks"][-1]
    told = re.search(r"At .*", report["bench"])
    lines += [
        "",
        f"Sums off by at most {max(last['residuals'].values()):.0e}. The report of the load: {told[0]}",
        "",
        f"At the next start, undisturbed: {report['at_next_start']}",
    ]
    machine.keep("refit", report, "\n".join(lines))
    if last["step_model"]["r_squared"] < 0.9:
        sys.exit("R² is still below 0.9")


if __name__ == "__main__":
    main()
