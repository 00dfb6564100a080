"""Everything that a GPU has to show, in one go, without network or Rust, in 25 minutes.

    python benches/gpu/run.py [--out DIR] [--only STEP]... [--price-per-hour USD]

Needs `target/release/farthing` built with `--features cuda`, and the demo in Farthing's cache (or in
`cache/`, where `benches/gpu/pack.py` puts it). Each step's result is in `--out` before the next
begins, and the table `results.md` is written anew, so that a machine that is taken away leaves what
it has shown:

1. `selftest`: every operation against its CPU twin, rates beside the limits, and steps of
   Mistral-7B's shape (decode, prompts, up to 32 adapters) beside their floor;
2. `sanitizer`: compute-sanitizer (memcheck, then racecheck) over the checks, where it is installed;
3. `greedy`: the greedy answers of the demo and of its adapters on the GPU and on the CPU: equal up to
   the first token whose two best candidates the CPU finds closer than 0.1;
4. `scores`: how often the demo's adapters are exactly right, on the GPU;
5. `llama`: steps of Llama-3.1-8B's shape;
6. `serving`: Mistral-7B's shape behind the endpoint, by `farthing bench` (a trial: the demo);
7. `transformers` and 8. `vllm`: the peers' continuous batching of the first two loads, where they are
   installed (`PYTHONPATH` may say where).

Ends with status 1 if one of them found something wrong, and names what there was no time for.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
import table
from farthing_server import BINARY, FarthingServer

HERE = pathlib.Path(__file__).resolve().parent
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
ADAPTERS = ["payment-json", "address-lines"]
SERVED = "mistral-7b-instruct-v0.3"
# Tokens in and out of a request; what matters most comes first.
LOADS = [(512, 512), (128, 128), (1024, 1024), (2048, 128)]
CONCURRENCIES = [1, 8, 32, 64, 128, 256]
PEER_CONCURRENCIES = [1, 8, 64, 256]
# With --device=cpu
TRIAL_LOADS = [(32, 8)]
TRIAL_CONCURRENCIES = [1, 4]


class Run:
    """What all steps share, and how much time is left to them."""

    def __init__(self, a: argparse.Namespace):
        self.out: pathlib.Path = a.out
        self.device: str = a.device
        self.price: str = a.price_per_hour
        self.is_trial: bool = a.device == "cpu"
        self.ends_at = time.monotonic() + 60 * a.minutes

    def left(self) -> float:
        return self.ends_at - time.monotonic()

    def path(self, name: str) -> pathlib.Path:
        return self.out / name

    def command(self, *command, **options) -> subprocess.CompletedProcess:
        """Runs it for as long as there is time."""
        command = [str(word) for word in command]
        print("$", *command, flush=True)
        return subprocess.run(command, timeout=max(self.left(), 1), **options)


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu-results"))
    args.add_argument("--only", action="append", choices=STEPS, metavar="STEP")
    args.add_argument("--minutes", type=float, default=25)
    args.add_argument("--price-per-hour", default="3.50", metavar="USD")
    args.add_argument("--device", default="cuda", help="cpu tries the script itself, on small loads")
    a = args.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if (cache := machine.PROJECT / "cache").is_dir():
        os.environ.setdefault("FARTHING_CACHE", str(cache))
    run = Run(a)
    about = machine.describe(f"python benches/gpu/run.py --device {a.device}", "") | {
        "gpu": gpu(),
        "usd_per_hour": a.price_per_hour,
    }
    run.path("about.json").write_text(json.dumps(about, indent=1) + "\n")
    wrong = []
    for name in a.only or STEPS:
        started = time.monotonic()
        try:
            if run.left() < 1:
                raise subprocess.TimeoutExpired(name, 0)
            passed = STEPS[name](run)
        except subprocess.TimeoutExpired:
            print(f"{name}: there was no time for all of it")
            passed = True
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            print(f"{name}: {error}")
            passed = False
        print(f"-- {name}: {time.monotonic() - started:.0f} s", flush=True)
        if not passed:
            wrong.append(name)
        run.path("results.md").write_text(table.of(a.out))
    print(run.path("results.md").read_text())
    sys.exit(f"wrong: {', '.join(wrong)}" if wrong else None)


def gpu() -> str:
    if not shutil.which("nvidia-smi"):
        return "none"
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip()


def selftest(run: Run) -> bool:
    done = run.command(
        BINARY, "selftest", "--device", run.device, "--json", run.path("selftest.json")
    )
    return done.returncode == 0


def llama(run: Run) -> bool:
    command = [BINARY, "selftest", "--device", run.device, "--only", "steps"]
    shape = "small" if run.is_trial else "llama-3.1-8b"
    done = run.command(*command, "--shape", shape, "--json", run.path("llama.json"))
    return done.returncode == 0


def sanitizer(run: Run) -> bool:
    tool = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path="/usr/local/cuda/bin"
    )
    path = run.path("sanitizer.txt")
    if tool is None or run.is_trial:
        path.write_text("not run: there is no compute-sanitizer, or no GPU\n")
        return True
    passed = True
    with path.open("w") as file:
        for check in ["memcheck", "racecheck"]:
            command = [tool, "--tool", check, "--error-exitcode", "9", BINARY]
            command += ["selftest", "--device", run.device, "--only", "checks"]
            done = run.command(*command, stdout=file, stderr=subprocess.STDOUT)
            file.write(f"{check}: status {done.returncode}\n")
            file.flush()
            passed &= done.returncode == 0
    return passed


def greedy(run: Run) -> bool:
    answers = {}
    for device in (run.device, "cpu"):
        with FarthingServer(f"--device={device}", start_timeout=300) as server:
            models = [server.model(), *ADAPTERS]
            answers[device] = {
                (model, prompt): complete(server, model, prompt)
                for model in models
                for prompt in PROMPTS
            }
    rows = [
        {"model": model, "prompt": prompt} | compare(answers[run.device][model, prompt], expected)
        for (model, prompt), expected in answers["cpu"].items()
    ]
    run.path("greedy.json").write_text(json.dumps({"greedy": rows}, indent=1) + "\n")
    return all(row["passed"] for row in rows)


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


def scores(run: Run) -> bool:
    script = machine.BENCHES / "adapters" / "score.py"
    done = run.command(
        sys.executable, script, "--device", run.device, "--out", run.path("scores")
    )
    return done.returncode == 0


def serving(run: Run) -> bool:
    flags = [f"--device={run.device}", f"--price-per-hour={run.price}", "--max-num-seqs=256"]
    if not run.is_trial:
        flags += [f"--model={SERVED}", "--load-format=dummy", "--max-model-len=4096"]
    with FarthingServer(*flags, start_timeout=600) as server:
        for tokens_in, tokens_out in TRIAL_LOADS if run.is_trial else LOADS:
            for concurrency in TRIAL_CONCURRENCIES if run.is_trial else CONCURRENCIES:
                path = run.path(f"serving-{tokens_in}-{tokens_out}-{concurrency}.json")
                command = [BINARY, "bench", f"--base-url=http://{server.address}"]
                command += ["--backend=openai", "--ignore-eos", "--temperature=0"]
                command += ["--max-concurrency", concurrency, "--num-prompts", 2 * concurrency]
                command += ["--random-input-len", tokens_in, "--random-output-len", tokens_out]
                done = run.command(*command, "--num-warmups=4", "--json", path)
                if done.returncode != 0:
                    return False
                run.path("results.md").write_text(table.of(run.out))
    return True


def transformers(run: Run) -> bool:
    return peer(run, "transformers")


def vllm(run: Run) -> bool:
    return peer(run, "vllm")


def peer(run: Run, name: str) -> bool:
    if importlib.util.find_spec(name) is None:
        print(f"{name}: not run: it is not installed")
        return True
    loads = TRIAL_LOADS if run.is_trial else LOADS[:2]
    sequences = TRIAL_CONCURRENCIES if run.is_trial else PEER_CONCURRENCIES
    command = [sys.executable, HERE / f"{name}_side.py", "--device", run.device]
    command += ["--json", run.path(f"{name}.json")]
    command += ["--layers=1"] if run.is_trial else []
    command += [f"--load={tokens_in}/{tokens_out}" for tokens_in, tokens_out in loads]
    done = run.command(*command, "--sequences", ",".join(map(str, sequences)))
    return done.returncode == 0


STEPS = {
    "selftest": selftest,
    "sanitizer": sanitizer,
    "greedy": greedy,
    "scores": scores,
    "llama": llama,
    "serving": serving,
    "transformers": transformers,
    "vllm": vllm,
}

main()
