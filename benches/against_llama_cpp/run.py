"""Compares the speed of Farthing and llama.cpp on the same weights, in turns, on this machine.

    pip install llama-cpp-python==0.3.36        # builds llama.cpp from source, some minutes
    python benches/against_llama_cpp/run.py [--model DEMO.gguf] [--rounds 5] [--note quiet]
        [--level avx2=PYTHON] [--busy 1]

llama.cpp converts the model's GGUF file to bf16, and both read that file. Each measurement is a
separate process (128 tokens of context, 48 new tokens, all cores, steps of 512 tokens). The two take
turns, so that other load on the machine affects both. In the same run, Farthing's side measures the
machine's limits: memory bandwidth and arithmetic. Prints a table and writes it, with every single
measurement, to benches/results/.

Farthing runs at every level of vector instructions that the processor supports, except the portable
one. llama.cpp's level is chosen when it is built; the default is this machine's best. `--level
avx2=PYTHON` names an interpreter whose llama-cpp-python was built for a lower level. Farthing at the
same level is then compared with it, and only the named levels run:

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON" \\
        pip install --no-cache-dir --no-binary llama-cpp-python llama-cpp-python==0.3.36

`--busy N` runs N other busy processes during the measurements.
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
    args.add_argument("--model", type=pathlib.Path, help="GGUF file [default: the demo in the cache]")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--level", type=level_and_python, action="append", default=[], metavar="LEVEL=PYTHON")
    args.add_argument("--busy", type=int, default=0, help="number of other busy processes")
    args.add_argument("--note", default="", help="other load on the machine; stored with the result")
    a = args.parse_args()

    farthing, model = build(), in_bf16(a.model or machine.cached_demo())
    peers = dict(a.level) or dict.fromkeys(levels(farthing), sys.executable)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(a.busy)]
    try:
        measured = list(measure_all(farthing, model, peers, a.rounds))
    finally:
        for process in busy:
            process.kill()

    given = [f"--rounds {a.rounds}"] + ([f"--model {a.model.name}"] if a.model else [])
    given += [f"--level {level}=PYTHON" for level, _ in a.level]
    given += [f"--busy {a.busy}"] if a.busy else []
    command = " ".join(["python benches/against_llama_cpp/run.py", *given])
    report = machine.describe(command, a.note) | {"model": model.name, "measured": measured}
    report["levels"] = {level: summary(measured, level) for level in peers}
    name = "against-llama-cpp" + ("-busy" if a.busy else "")
    machine.keep(name, report, table(report))


def level_and_python(text: str) -> tuple[str, str]:
    level, found, python = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not LEVEL=PYTHON, such as avx2=/venv/bin/python")
    return level, python


def levels(farthing: pathlib.Path) -> list[str]:
    """Returns the processor's levels, without the portable one if there is another."""
    done = subprocess.run([farthing, "--levels"], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    return found[1:] or found


def measure_all(farthing: pathlib.Path, model: pathlib.Path, peers: dict[str, str], rounds: int):
    for turn in range(rounds):
        for level, python in peers.items():
            sides = {
                "farthing": [str(farthing), str(model), f"--simd-level={level}"],
                "llama.cpp": [python, str(HERE / "llama_cpp_side.py"), str(model)],
            }
            for sequences in SEQUENCES:
                # The order changes every round.
                for side in sorted(sides, reverse=turn % 2 == 1):
                    load = [f"--sequences={sequences}", f"--context={CONTEXT}", f"--new={NEW}"]
                    result = {"round": turn, "level": level, "side": side}
                    result |= measure(sides[side] + load)
                    print(progress(result), file=sys.stderr, flush=True)
                    yield result


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


def summary(measured: list[dict], level: str) -> dict:
    at_level = [m for m in measured if m["level"] == level]
    ours = [m for m in at_level if m["side"] == "farthing"]
    theirs = [m for m in at_level if m["side"] == "llama.cpp"]
    found = [m["limits"] for m in ours]
    # The limits are measured after each measurement: memory bandwidth changes when others use it too.
    limits = {name: statistics.median(limits[name] for limits in found) for name in found[0]}
    return {
        "device": ours[0]["device"],
        "llama_cpp": f"{theirs[0]['version']}: {theirs[0]['system_info']}",
        "limits": limits,
        "rows": [compare(ours, theirs, limits, phase, n) for n in SEQUENCES for phase in PHASES],
    }


def compare(ours: list[dict], theirs: list[dict], limits: dict, phase: str, sequences: int) -> dict:
    def rates(side: list[dict]) -> list[float]:
        return [m[f"{phase}_tokens_per_second"] for m in side if m["sequences"] == sequences]

    farthing, llama_cpp = rates(ours), rates(theirs)
    limit = physical_limit(ours[0], limits, phase, sequences)
    return {
        "phase": phase,
        "sequences": sequences,
        "farthing_best": max(farthing),
        "llama_cpp_best": max(llama_cpp),
        "ratio_of_best": max(farthing) / max(llama_cpp),
        "farthing_median": statistics.median(farthing),
        "llama_cpp_median": statistics.median(llama_cpp),
        "ratio_of_medians": statistics.median(farthing) / statistics.median(llama_cpp),
        "limit": limit,
        "share_of_limit": statistics.median(farthing) / limit,
    }


def physical_limit(ours: dict, limits: dict, phase: str, sequences: int) -> float:
    """Returns the tokens per second that the machine's limits allow: each weight is read once per
    step, and only the matrix products are computed, with the level's bf16 instruction or else in
    f32."""
    if phase == "prompt":
        return CONTEXT * limits["flops"] / ours["flops_per_prompt"]
    reading = ours["weight_bytes"] / limits["read_bytes_per_second"]
    computing = sequences * ours["flops_per_output_token"] / limits["flops"]
    return sequences / max(reading, computing)


def table(report: dict) -> str:
    lines = machine.heading("Against llama.cpp", report) + [
        f"{report['model']}. Context {CONTEXT}, {NEW} new tokens; tok/s, the best of each side's"
        " rounds. Farthing's time includes scheduling and sampling, llama.cpp's does not.",
    ]
    for level, found in report["levels"].items():
        limits = found["limits"]
        lines += [
            "",
            f"## {level}",
            "",
            f"Farthing: {found['device']}; llama-cpp-python {found['llama_cpp']}",
            f"Limits measured beside each, medians: {limits['read_bytes_per_second'] / 1e9:.1f} GB/s"
            f" read, {limits['flops'] / 1e9:.0f} GFLOP/s; the share is the median's.",
            "",
            "| sequences | phase | Farthing | llama.cpp | ratio | ratio of medians | limit | share |",
            "|--:|---|--:|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {row['sequences']} | {row['phase']} | {row['farthing_best']:.0f} |"
            f" {row['llama_cpp_best']:.0f} | {row['ratio_of_best']:.2f} |"
            f" {row['ratio_of_medians']:.2f} | {row['limit']:.0f} | {row['share_of_limit']:.0%} |"
            for row in found["rows"]
        ]
    return "\n".join(lines)


def progress(result: dict) -> str:
    return (
        f"round {result['round']}  {result['level']:11}  {result['side']:9}"
        f"  sequences {result['sequences']:2}"
        f"  prompt {result['prompt_tokens_per_second']:6.0f}"
        f"  output {result['output_tokens_per_second']:6.0f} tok/s"
    )


if __name__ == "__main__":
    main()
