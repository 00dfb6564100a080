"""Everything that a GPU has to show, in one go and without network or Rust.

    python benches/gpu/run.py --model DIR [--adapter NAME=DIR]... [--out DIR]

Needs `target/release/farthing` built with `--features cuda`, and a model on disk (the demo's
directory, say). Each step's result is written to `--out` before the next begins, so that a machine
that is taken away leaves what it has shown:

1. `selftest.json`: every operation against its CPU twin, rates beside the limits, decode steps of
   Mistral-7B's shape beside their floor;
2. `sanitizer.txt`: compute-sanitizer (memcheck, then racecheck) over the checks, where it is
   installed;
3. `greedy.json`: the greedy answers of the model, and of each adapter, on the GPU and on the CPU:
   equal up to the first token whose two best candidates the CPU finds closer than 0.1.

Ends with status 1 if one of them found something wrong.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import BINARY, FarthingServer

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n",
    "In 1969, the first humans",
    "Water boils at a temperature of",
    "Once upon a time there was a",
    "The three primary colours are",
]
NEW_TOKENS = 64
# A difference in log-probability below which 16-bit activations may decide either way.
CLEAR_GAP = 0.1


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--model", required=True, help="a model's directory or .gguf file")
    args.add_argument("--adapter", action="append", default=[], metavar="NAME=DIR")
    args.add_argument("--device", default="cuda", help="another device, to try the script itself")
    args.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu-results"))
    a = args.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    failures = [
        what
        for what, passed in [
            ("selftest", selftest(a.device, a.out / "selftest.json")),
            ("sanitizer", sanitizer(a.device, a.out / "sanitizer.txt")),
            ("greedy", greedy(a, a.out / "greedy.json")),
        ]
        if not passed
    ]
    if failures:
        sys.exit(f"wrong: {', '.join(failures)}")
    print(f"all is well: {a.out}")


def selftest(device: str, path: pathlib.Path) -> bool:
    return subprocess.run([BINARY, "selftest", "--device", device, "--json", path]).returncode == 0


def sanitizer(device: str, path: pathlib.Path) -> bool:
    tool = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    if tool is None or device == "cpu":
        path.write_text("not run: there is no compute-sanitizer, or no GPU\n")
        print(path.read_text(), end="")
        return True
    passed = True
    with path.open("w") as file:
        for check in ["memcheck", "racecheck"]:
            command = [tool, "--tool", check, "--error-exitcode", "9", BINARY]
            command += ["selftest", "--device", device, "--checks-only"]
            print(*command)
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
            print(f"{check}: status {done.returncode}")
            passed &= done.returncode == 0
    return passed


def greedy(a: argparse.Namespace, path: pathlib.Path) -> bool:
    flags = [f"--model={a.model}", *(f"--adapter={adapter}" for adapter in a.adapter)]
    models = [None, *(adapter.partition("=")[0] for adapter in a.adapter)]
    answers = {}
    for device in (a.device, "cpu"):
        with FarthingServer(*flags, f"--device={device}", start_timeout=600) as server:
            base = server.model()
            answers[device] = [
                [complete(server, model or base, prompt) for prompt in PROMPTS] for model in models
            ]
    rows = []
    for model, found, expected in zip(models, answers[a.device], answers["cpu"]):
        for prompt, ours, twin in zip(PROMPTS, found, expected):
            rows.append({"model": model or "base", "prompt": prompt} | compare(ours, twin))
    report = machine.describe("python benches/gpu/run.py", "") | {"greedy": rows}
    path.write_text(json.dumps(report, indent=2) + "\n")
    wrong = [row for row in rows if not row["passed"]]
    print(f"greedy: {len(rows) - len(wrong)} of {len(rows)} answers equal where the gap is clear")
    return not wrong


def complete(server: FarthingServer, model: str, prompt: str) -> dict:
    """Tokens, and the gap between the two likeliest at each."""
    answer = server.post(
        "/v1/completions",
        {
            "model": model,
            "prompt": prompt,
            "max_tokens": NEW_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "logprobs": 2,
        },
    )
    logprobs = answer["choices"][0]["logprobs"]
    best = [sorted(top.values(), reverse=True) for top in logprobs["top_logprobs"]]
    return {
        "tokens": logprobs["tokens"],
        "gaps": [top[0] - top[1] if len(top) > 1 else 0.0 for top in best],
    }


def compare(found: dict, expected: dict) -> dict:
    """Equal as far as the twin's choices are clear: after an unclear one both go their own way."""
    clear = next(
        (i for i, gap in enumerate(expected["gaps"]) if gap < CLEAR_GAP), len(expected["gaps"])
    )
    equal = next(
        (i for i, (a, b) in enumerate(zip(found["tokens"], expected["tokens"])) if a != b),
        len(expected["tokens"]),
    )
    return {"clear_tokens": clear, "equal_tokens": equal, "passed": equal >= clear}


main()
