"""The steps of `run.py`."""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import machine
from farthing_server import BINARY, FarthingServer

HERE = pathlib.Path(__file__).resolve().parent
SERVED = "mistral-7b-instruct-v0.3"
SERVED_FLAGS = ["--max-model-len=4096", "--max-num-seqs=256"]
# Prompt and output tokens of a request, and the concurrency; the most important loads come first.
LOADS = [((512, 512), [1, 8, 64, 256]), ((2048, 128), [64])]
TRIAL_LOADS = [((32, 8), [1, 4])]
TRIAL_FLAGS = ["--max-model-len=1024", "--max-num-seqs=4", "--max-num-batched-tokens=64"]
# The model of a trial: a small shape with grouped heads of 64.
TRIAL_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 1024,
    "max_position_embeddings": 2048,
}
PROFILED = {  # operation of `selftest`, kernel
    "attention": ("paged_attention, 64 ×", "paged_attention_decode"),
    "sampling": ("top_p 0.9, 64 rows", "^sample$"),
    "lora": ("lora gate_up, 64 rows", "lora_"),
}

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n",
    "In 1969, the first humans",
    "Water boils at a temperature of",
    "Once upon a time there was a",
    "The three primary colours are",
]
NEW_TOKENS = 64
# If the log-probabilities of the CPU's two most likely tokens are closer than this, rounding to 16 bits
# on one side may exchange the two.
CLEAR_GAP = 0.5
ADAPTERS = ["payment-json", "address-lines"]


class Skipped(Exception):
    """This machine does not support the step."""


class Run:
    """The state that all steps share, and the time left to the current one."""

    def __init__(self, out: pathlib.Path, device: str, price: str, is_trial: bool):
        self.out = out
        self.device = device
        self.price = price
        self.is_trial = is_trial or device == "cpu"
        self.ends_at = 0.0

    def left(self) -> float:
        return self.ends_at - time.monotonic()

    def path(self, name: str) -> pathlib.Path:
        return self.out / name

    def command(self, *command, output=None) -> int:
        """Runs a command until the time limit, then kills it and all processes that it started."""
        command = [str(word) for word in command]
        print("$", *command, flush=True)
        process = subprocess.Popen(
            command, stdout=output, stderr=output and subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(timeout=max(self.left(), 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def selftest(self, name: str, *flags) -> bool:
        command = [BINARY, "selftest", "--device", self.device, *flags]
        return self.command(*command, "--json", self.path(f"{name}.json")) == 0

    def shape(self, shape: str) -> str:
        if not self.is_trial:
            return shape
        return "small" if self.device == "cpu" else "tiny"


def checks(run: Run) -> bool:
    return run.selftest("checks", "--only", "checks")


def model(run: Run) -> bool:
    return run.selftest("model", "--only", "model")


def answers(run: Run) -> bool:
    """Serves a small model with adapters over HTTP, and compares its answers with the CPU's."""
    if run.is_trial:
        raise Skipped("it compares a GPU with the CPU")
    path = run.path("answers.txt")
    command = [sys.executable, machine.BENCHES / "emulated" / "run.py"]
    with path.open("w") as file:
        status = run.command(*command, output=file)
    print(path.read_text(), flush=True)
    return status == 0


def steps(run: Run) -> bool:
    return run.selftest("steps", "--only", "steps", "--shape", run.shape("mistral-7b"))


def rates(run: Run) -> bool:
    return run.selftest("rates", "--only", "rates", "--shape", run.shape("mistral-7b"))


def llama(run: Run) -> bool:
    sampling = ["--temperature", "0.2", "--top-p", "0.9"]
    shape = run.shape("llama-3.1-8b")
    return run.selftest("llama", "--only", "steps", "--shape", shape, *sampling)


def memcheck(run: Run) -> bool:
    return sanitize(run, "memcheck")


def racecheck(run: Run) -> bool:
    return sanitize(run, "racecheck")


def sanitize(run: Run, check: str) -> bool:
    """Runs compute-sanitizer over a whole model, which has all kernel launches of serving."""
    tool = find_tool("compute-sanitizer")
    if run.is_trial:
        raise Skipped("it watches GPUs only")
    path = run.path(f"{check}.txt")
    with path.open("w") as file:
        command = [tool, "--tool", check, "--error-exitcode", "9", BINARY, "selftest"]
        status = run.command(*command, "--device", run.device, "--only", "model", output=file)
    said = path.read_text()
    if "Device not supported" in said:
        raise Skipped("compute-sanitizer says: Device not supported")
    return status == 0


def ncu(run: Run) -> bool:
    tool = find_tool("ncu")
    if run.is_trial:
        raise Skipped("it watches GPUs only")
    for name, (operation, kernel) in PROFILED.items():
        path = run.path(f"ncu-{name}.txt")
        command = [tool, "--kernel-name", f"regex:{kernel}", "--launch-skip", 2]
        command += ["--launch-count", 2, "--clock-control", "none"]
        for section in ["SpeedOfLight", "MemoryWorkloadAnalysis", "Occupancy", "WarpStateStats"]:
            command += ["--section", section]
        command += [BINARY, "selftest", "--device", run.device, "--only", "rates"]
        with path.open("w") as file:
            status = run.command(*command, "--op", operation, output=file)
        said = path.read_text()
        if "LibraryNotLoaded" in said or "ERR_NVGPUCTRPERM" in said:
            raise Skipped("ncu cannot read the counters of this machine")
        if status != 0:
            return False
    return True


def find_tool(name: str) -> str:
    folders = [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    if tool := shutil.which(name, path=":".join(folders)):
        return tool
    raise Skipped(f"{name} is not installed")


def serving(run: Run) -> bool:
    flags = [f"--device={run.device}", f"--price-per-hour={run.price}", "--load-format=dummy"]
    if run.is_trial:
        directory = run.path("served")
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(TRIAL_CONFIG))
        flags += [f"--model={directory}", *TRIAL_FLAGS]
    else:
        flags += [f"--model={SERVED}", *SERVED_FLAGS]
    log = run.path("serving.txt")
    with FarthingServer(*flags, start_timeout=run.left()) as server:
        started = time.perf_counter() - server.started_at
        log.write_text("".join(server.output))
        print(f"the server started in {started:.1f} s", flush=True)
        run.path("serving.json").write_text(json.dumps({"start_seconds": started}) + "\n")
        for (tokens_in, tokens_out), concurrencies in TRIAL_LOADS if run.is_trial else LOADS:
            for concurrency in concurrencies:
                path = run.path(f"serving-{tokens_in}-{tokens_out}-{concurrency}.json")
                command = [BINARY, "bench", f"--base-url=http://{server.address}"]
                command += ["--backend=openai", "--ignore-eos", "--temperature=0"]
                command += ["--max-concurrency", concurrency, "--num-prompts", max(concurrency, 2)]
                command += ["--random-input-len", tokens_in, "--random-output-len", tokens_out]
                # A warm-up would take one of the places, so that the last request came late. Loads
                # with the same seed would find each other's prompts in the prefix cache.
                command += ["--num-warmups=0", f"--seed={tokens_in + concurrency}", "--json", path]
                if run.command(*command) != 0:
                    return False
    return True


def transformers(run: Run) -> bool:
    return peer(run, "transformers")


def vllm(run: Run) -> bool:
    return peer(run, "vllm")


def peer(run: Run, name: str) -> bool:
    """Runs the same loads; all requests of a load start at once."""
    for package in ("torch", name):
        if importlib.util.find_spec(package) is None:
            raise Skipped(f"{package} is not installed")
    command = [sys.executable, HERE / f"{name}_side.py", "--device", run.device]
    command += ["--json", run.path(f"{name}.json")]
    command += ["--layers=1"] if run.is_trial else []
    for (tokens_in, tokens_out), sequences in TRIAL_LOADS if run.is_trial else LOADS:
        command.append(f"--load={tokens_in}/{tokens_out}/{','.join(map(str, sequences))}")
    return run.command(*command) == 0


def greedy(run: Run) -> bool:
    need_demo()
    answers = {}
    for device in (run.device, "cpu"):
        with FarthingServer(f"--device={device}", start_timeout=run.left()) as server:
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


def need_demo() -> None:
    try:
        machine.cached_demo()
    except SystemExit as error:
        raise Skipped(str(error)) from None


def complete(server: FarthingServer, model: str, prompt: str) -> dict:
    """Returns the tokens, and for each the gap between the two most likely ones."""
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
    """Compares two answers up to their first difference, which is allowed where the CPU's two most likely
    tokens are close. After it, the answers have different contexts and cannot be compared."""
    pairs = zip(found["tokens"], expected["tokens"])
    equal = next((i for i, (a, b) in enumerate(pairs) if a != b), len(expected["tokens"]))
    gap = expected["gaps"][equal] if equal < len(expected["gaps"]) else None
    return {"equal_tokens": equal, "gap": gap, "passed": gap is None or gap < CLEAR_GAP}


def scores(run: Run) -> bool:
    need_demo()
    script = machine.BENCHES / "adapters" / "score.py"
    command = [sys.executable, script, "--device", run.device, "--out", run.path("scores")]
    return run.command(*command) == 0


STEPS = {
    step.__name__: step
    for step in [
        checks,
        model,
        answers,
        steps,
        rates,
        serving,
        transformers,
        memcheck,
        racecheck,
        llama,
        ncu,
        greedy,
        scores,
        vllm,
    ]
}
