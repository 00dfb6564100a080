"""Runs all checks and measurements on a GPU, in two calls, without network or Rust.

    python3 benches/gpu/run.py --call 1 [--parts DIR] [--out DIR]     at most 430 s
    python3 benches/gpu/run.py --call 2 [--parts DIR] [--out DIR]     at most 280 s

Needs Python and the libraries of CUDA 13; it finds those that PyTorch installed. `--parts` names the
folder that `benches/gpu/pack.py` wrote. Without it, target/release/farthing must exist, built with
`--features cuda`. The steps of call 1:

1. `checks`: every operation compared with the CPU's;
2. `model`: a small model compared with the CPU's, with adapters, chunks, graphs and sampling;
3. `answers`: a small model with adapters, served over HTTP, by `benches/emulated/run.py`;
4. `steps` of Mistral-7B's shape, compared with their minimum time;
5. `rates`: the speed of operations, compared with the device's limits;
6. `serving`: Mistral-7B's shape, served over HTTP, by `farthing bench`;
7. `transformers`: transformers' continuous batching on the same loads, if it is installed.

The steps of call 2:

1. `memcheck`, 2. `racecheck`: compute-sanitizer over `model`, which covers attention, LoRA, sampling and
   the graphs;
3. `llama`: steps of Llama-3.1-8B's shape at temperature 0.2 and top-p 0.9;
4. `ncu`: Nsight Compute on decode attention, sampling and LoRA.

Only `--only` runs these steps: `greedy` compares the greedy answers of the demo and its adapters on the
device and on the CPU, and `scores` measures how often the demo's adapters are exactly correct (both need
the demo in Farthing's cache); `vllm` measures vLLM.

Each step has its own time limit. A step that the machine does not support is "skipped", and a step that
runs out of time is "unfinished"; neither is an error. If a step is "wrong", the script exits with status
1. After every step, one archive in `--out` holds all results and a page of tables. At the end, a short
table is printed. `--device cpu` tries both calls with small loads, and `--trial` does so on any device.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
import pack
import steps
import table

CALL_SECONDS = {1: 430, 2: 280}
# The time limit of each step in seconds.
CALL_STEPS = {
    1: {"checks": 60, "model": 40, "answers": 40, "steps": 120, "rates": 60, "serving": 170, "transformers": 150},
    2: {"memcheck": 90, "racecheck": 90, "llama": 110, "ncu": 90},
}
OTHER_STEPS = {"greedy": 300, "scores": 300, "vllm": 300}
# An emulated device is slow, so trials get more time.
TRIAL_PATIENCE = 5
# The time to write the archive after a step was cut off.
SECONDS_TO_END = 5


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--call", type=int, choices=CALL_SECONDS, default=1)
    args.add_argument("--only", action="append", metavar="STEP", choices=all_steps())
    args.add_argument("--seconds", type=float, help="time limit of all steps [default: the call's]")
    args.add_argument("--parts", type=pathlib.Path, metavar="DIR")
    args.add_argument("--out", type=pathlib.Path, default=machine.TARGET / "gpu-results")
    args.add_argument("--price-per-hour", default="3.50", metavar="USD")
    args.add_argument("--device", default="cuda")
    args.add_argument("--trial", action="store_true", help="small loads, and more time for them")
    a = args.parse_args()
    patience = TRIAL_PATIENCE if a.trial else 1
    whole = a.seconds or patience * CALL_SECONDS[a.call]
    ends_at = time.monotonic() + whole - SECONDS_TO_END
    find_cuda()
    if a.parts:
        pack.unpack(a.parts)
    a.out.mkdir(parents=True, exist_ok=True)
    archive = a.out / f"call-{a.call}.tar.gz"
    limits = {name: patience * all_steps()[name] for name in a.only or CALL_STEPS[a.call]}
    with tempfile.TemporaryDirectory() as scratch:
        run = steps.Run(pathlib.Path(scratch), a.device, a.price_per_hour, a.trial)
        command = f"python3 benches/gpu/run.py --call {a.call} --device {a.device}"
        about = machine.describe(command + (" --trial" if a.trial else ""), "")
        about |= {"gpu": gpu(), "usd_per_hour": a.price_per_hour}
        run.path("about.json").write_text(json.dumps(about, indent=1) + "\n")
        outcomes = []
        for name, limit in limits.items():
            outcomes.append(outcome(run, name, limit, ends_at))
            run.path("outcomes.json").write_text(json.dumps({"outcomes": outcomes}, indent=1) + "\n")
            run.path("results.md").write_text(table.of(run.out))
            keep(run.out, archive)
        print(table.short(run.out))
    print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB")
    wrong = [it["step"] for it in outcomes if it["outcome"] == "wrong"]
    sys.exit(f"wrong: {', '.join(wrong)}" if wrong else None)


def all_steps() -> dict[str, float]:
    return CALL_STEPS[1] | CALL_STEPS[2] | OTHER_STEPS


def outcome(run: steps.Run, name: str, limit: float, ends_at: float) -> dict:
    """Runs a step and returns its outcome and its duration."""
    print(f"== {name}", flush=True)
    started = time.monotonic()
    run.ends_at = min(started + limit, ends_at)
    why = None
    try:
        if run.left() < 1:
            raise subprocess.TimeoutExpired(name, 0)
        became = "passed" if steps.STEPS[name](run) else "wrong"
    except steps.Skipped as reason:
        became, why = "skipped", str(reason)
    except subprocess.TimeoutExpired:
        became, why = "unfinished", "there was no time for all of it"
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        became, why = "wrong", str(error)
    seconds = round(time.monotonic() - started, 1)
    print(f"-- {name}: {became}{f' ({why})' if why else ''}, {seconds} s", flush=True)
    return {"step": name, "outcome": became, "why": why, "seconds": seconds}


def find_cuda() -> None:
    """Adds the CUDA libraries of Python packages, such as PyTorch's, to the search path."""
    packages = [pathlib.Path(folder) for folder in sys.path if folder]
    roots = [folder for package in packages for folder in sorted(package.glob("nvidia/*"))]
    libraries = [str(root / "lib") for root in roots if (root / "lib").is_dir()]
    known = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, [*known, *libraries]))
    whole = [root for root in roots if any(root.glob("lib/libcublasLt.so*"))]
    if whole and not pathlib.Path("/usr/local/cuda").exists():
        os.environ.setdefault("CUDA_HOME", str(whole[0]))


def gpu() -> str:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout.strip() or "none"
    except OSError:
        return "none"


def keep(results: pathlib.Path, archive: pathlib.Path) -> None:
    """Writes the archive; it has another name until it is complete."""
    unfinished = archive.with_suffix(".part")
    with tarfile.open(unfinished, "w:gz") as tar:
        tar.add(results, archive.name.split(".")[0])
    unfinished.replace(archive)


if __name__ == "__main__":
    main()
