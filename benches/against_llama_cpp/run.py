"""Farthing and llama.cpp on the same weights, in turn, on this machine.

    pip install llama-cpp-python==0.3.36        # builds llama.cpp from source, some minutes
    python benches/against_llama_cpp/run.py [--model DEMO.gguf] [--rounds 5] [--note quiet]

llama.cpp writes the model's GGUF file again in bf16, and both read that file. Each measurement is
a process of its own (128 tokens of context, 48 new tokens, all cores, steps of 512 tokens), and
the two take turns, so that whatever else the machine does meets both. In the same run Farthing's
side measures what memory and arithmetic allow. Prints a table and writes it, with every single
measurement, to benches/results/.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import machine

SEQUENCES = [1, 8, 32]
CONTEXT = 128
NEW = 48
PHASES = ["prompt", "output"]


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--model", type=pathlib.Path, help="GGUF file; the demo in the cache if absent")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--note", default="", help="kept with the result: what else was running")
    a = args.parse_args()

    farthing, model = build(), in_bf16(a.model or machine.cached_demo())
    sides = {
        "farthing": [str(farthing), str(model)],
        "llama.cpp": [sys.executable, str(HERE / "llama_cpp_side.py"), str(model)],
    }
    measured = []
    for turn in range(a.rounds):
        for sequences in SEQUENCES:
            # Who comes first changes with every round.
            for side in sorted(sides, reverse=turn % 2 == 1):
                load = [f"--sequences={sequences}", f"--context={CONTEXT}", f"--new={NEW}"]
                result = {"round": turn, "side": side} | measure(sides[side] + load)
                measured.append(result)
                print(progress(result), file=sys.stderr, flush=True)

    given = [f"--rounds {a.rounds}"] + ([f"--model {a.model.name}"] if a.model else [])
    command = " ".join(["python benches/against_llama_cpp/run.py", *given])
    report = machine.describe(command, a.note) | {"model": model.name, "measured": measured}
    report["limits"] = best_limits(measured)
    report["summary"] = [row for n in SEQUENCES for row in compare(report, n)]
    machine.keep("against-llama-cpp", report, table(report))


def build() -> pathlib.Path:
    cargo = ["cargo", "build", "--release", "--workspace"]
    subprocess.run(cargo + ["--bin", "farthing_side"], cwd=machine.PROJECT, check=True)
    return machine.TARGET / "release" / "farthing_side"


def in_bf16(source: pathlib.Path) -> pathlib.Path:
    target = machine.TARGET / f"{source.stem}-bf16.gguf"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        side = [sys.executable, str(HERE / "llama_cpp_side.py")]
        subprocess.run(side + [str(source), f"--write-bf16={target}"], check=True)
    return target


def measure(command: list[str]) -> dict:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}")
    return json.loads(done.stdout)


def best_limits(measured: list[dict]) -> dict:
    """The machine's best moment: what it can do at most."""
    found = [m["limits"] for m in measured if m["side"] == "farthing"]
    return {name: max(limits[name] for limits in found) for name in found[0]}


def compare(report: dict, sequences: int) -> list[dict]:
    rows = []
    for phase in PHASES:
        rates = {
            side: [
                m[f"{phase}_tokens_per_second"]
                for m in report["measured"]
                if m["side"] == side and m["sequences"] == sequences
            ]
            for side in ("farthing", "llama.cpp")
        }
        ours, theirs = rates["farthing"], rates["llama.cpp"]
        limit = physical_limit(report, phase, sequences)
        rows.append(
            {
                "phase": phase,
                "sequences": sequences,
                "farthing_best": max(ours),
                "llama_cpp_best": max(theirs),
                "ratio_of_best": max(ours) / max(theirs),
                "farthing_median": statistics.median(ours),
                "llama_cpp_median": statistics.median(theirs),
                "ratio_of_medians": statistics.median(ours) / statistics.median(theirs),
                "limit": limit,
                "share_of_limit": max(ours) / limit,
            }
        )
    return rows


def physical_limit(report: dict, phase: str, sequences: int) -> float:
    """Tokens a second if nothing but the weights were read, each once a step, and nothing but the
    matrix products computed, by the processor's own instruction for bf16 or else f32."""
    ours = next(m for m in report["measured"] if m["side"] == "farthing")
    limits = report["limits"]
    if phase == "prompt":
        return CONTEXT * limits["flops"] / ours["flops_per_prompt"]
    reading = ours["weight_bytes"] / limits["read_bytes_per_second"]
    computing = sequences * ours["flops_per_output_token"] / limits["flops"]
    return sequences / max(reading, computing)


def table(report: dict) -> str:
    limits = report["limits"]
    sides = {m["side"]: m for m in report["measured"]}
    lines = machine.heading("Against llama.cpp", report) + [
        f"{report['model']}. Farthing: {sides['farthing']['device']};"
        f" llama-cpp-python {sides['llama.cpp']['version']}: {sides['llama.cpp']['system_info']}",
        f"Context {CONTEXT}, {NEW} new tokens; tok/s, the best of each side's rounds. Farthing's"
        " time includes scheduling and sampling, llama.cpp's does not.",
        f"Limits measured in the same run: {limits['read_bytes_per_second'] / 1e9:.1f} GB/s read,"
        f" {limits['flops'] / 1e9:.0f} GFLOP/s.",
        "",
        "| sequences | phase | Farthing | llama.cpp | ratio | ratio of medians | limit | share |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in report["summary"]:
        lines.append(
            f"| {row['sequences']} | {row['phase']} | {row['farthing_best']:.0f} |"
            f" {row['llama_cpp_best']:.0f} | {row['ratio_of_best']:.2f} |"
            f" {row['ratio_of_medians']:.2f} | {row['limit']:.0f} | {row['share_of_limit']:.0%} |"
        )
    return "\n".join(lines)


def progress(result: dict) -> str:
    return (
        f"round {result['round']}  {result['side']:9}  sequences {result['sequences']:2}"
        f"  prompt {result['prompt_tokens_per_second']:6.0f}"
        f"  output {result['output_tokens_per_second']:6.0f} tok/s"
    )


if __name__ == "__main__":
    main()
