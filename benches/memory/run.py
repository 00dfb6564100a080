"""Measures memory while loading and serving, and the time from start to first token.

    cargo build --release
    python benches/memory/run.py                          # the demo
    python benches/memory/run.py --model mistral-7b-instruct-v0.3 --load-format dummy \\
        --max-model-len 512 --kv-cache-memory 0.0625

Starts `target/release/farthing` and reads /proc. The limits:

- the peak while loading (VmHWM when the server starts to accept requests, with almost no KV cache)
  is at most 1.3 times the size of the weights in the compute type;
- the resident memory while serving, once every block of the KV cache has been written, is within
  10 % of the printed plan;
- the time from start to the first streamed token of the demo is at most 5 s (the best of three
  starts, since the file cache may be cold at the first).
"""

import argparse
import concurrent.futures
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import FarthingServer

PEAK_LIMIT = 1.3
PLAN_LIMIT = 0.1
FIRST_TOKEN_LIMIT_SECONDS = 5.0
# The flags of a server whose memory is almost only the weights.
WEIGHTS_ALONE = [
    "--max-model-len=64",
    "--kv-cache-memory=0.01",
    "--max-num-seqs=1",
    "--max-num-batched-tokens=64",
]
QUESTION = "What is the capital of France?"
MIB = 1 << 20


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--model", help="the value of farthing's --model [default: the demo]")
    args.add_argument("--load-format", default="auto")
    args.add_argument("--max-model-len", type=int, default=1024)
    args.add_argument("--kv-cache-memory", type=float, default=0.25, metavar="GIB")
    args.add_argument("--note", default="")
    a = args.parse_args()
    flags = [f"--load-format={a.load_format}"] + ([f"--model={a.model}"] if a.model else [])
    small_cache = [f"--max-model-len={a.max_model_len}", f"--kv-cache-memory={a.kv_cache_memory}"]

    given = [flag for flag in flags if flag != "--load-format=auto"]
    report = machine.describe(" ".join(["python benches/memory/run.py", *given]), a.note)
    with FarthingServer(*flags, *WEIGHTS_ALONE, start_timeout=900) as server:
        report["loaded"] = server.memory()
    with FarthingServer(*flags, *small_cache, start_timeout=900) as server:
        report |= measure_memory(server)
    if not a.model:
        report["start_to_first_token_seconds"] = [start_to_first_token(flags) for _ in range(3)]

    checks = judge(report)
    name = "memory" + (f"-{a.model}" if a.model else "")
    machine.keep(name, report, table(report, checks))
    sys.exit(0 if all(passed for *_, passed in checks) else 1)


def measure_memory(server: FarthingServer) -> dict:
    plan, opened = server.plan(), server.memory()
    fill_cache(server, int(plan["tokens"]))
    filled = server.memory()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.complete, prompt(seed, 32), 32) for seed in range(4)]
        serving = server.memory()
        generated = sum(a.result()["usage"]["completion_tokens"] for a in answers)
    return {
        "plan": plan,
        "opened": opened,
        "filled": filled,
        "serving": serving,
        "generated_tokens": generated,
    }


def fill_cache(server: FarthingServer, tokens: int) -> None:
    """Sends different prompts until every block of the cache has been used: the allocator takes
    unused blocks before blocks that hold a cached prefix."""
    length = min(256, tokens - 16)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        prompts = [prompt(1_000 + i, length) for i in range(tokens // length + 2)]
        for answer in pool.map(lambda ids: server.complete(ids, 1), prompts):
            assert answer["choices"], answer


def prompt(seed: int, length: int) -> list[int]:
    chooser = random.Random(seed)
    return [chooser.randrange(10, 30_000) for _ in range(length)]


def start_to_first_token(flags: list[str]) -> float:
    with FarthingServer(*flags) as server:
        return server.first_token_at(QUESTION) - server.started_at


def judge(report: dict) -> list[tuple[str, str, str, bool]]:
    """Returns (what, found, limit, passed) of each measurement."""
    plan = report["plan"]
    peak = report["loaded"]["VmHWM"] / plan["weights"]
    serving = report["serving"]["VmRSS"] / plan["total"]
    checks = [
        (
            "peak while loading",
            f"{report['loaded']['VmHWM'] / MIB:.0f} MiB = {peak:.2f} × weights",
            f"{PEAK_LIMIT} × {plan['weights'] / MIB:.0f} MiB",
            peak <= PEAK_LIMIT,
        ),
        (
            "resident while serving",
            f"{report['serving']['VmRSS'] / MIB:.0f} MiB = {serving:.2f} × plan",
            f"{plan['total'] / MIB:.0f} MiB ± {PLAN_LIMIT:.0%}",
            abs(serving - 1) <= PLAN_LIMIT,
        ),
    ]
    if seconds := report.get("start_to_first_token_seconds"):
        best = min(seconds)
        found = f"{best:.2f} s (" + ", ".join(f"{s:.2f}" for s in seconds) + ")"
        limit = f"{FIRST_TOKEN_LIMIT_SECONDS:.0f} s"
        checks.append(("start to first token", found, limit, best <= FIRST_TOKEN_LIMIT_SECONDS))
    return checks


def table(report: dict, checks: list[tuple[str, str, str, bool]]) -> str:
    lines = machine.heading("Memory and start", report)
    lines += ["| | found | limit | |", "|---|---|---|---|"]
    for what, found, limit, passed in checks:
        lines.append(f"| {what} | {found} | {limit} | {'ok' if passed else 'MISSED'} |")
    moments = [
        ("loaded", "door open, weights alone"),
        ("opened", "door open"),
        ("filled", "KV cache filled"),
        ("serving", "serving"),
    ]
    columns = "| MiB | peak so far | resident | anonymous | mapped files |"
    lines += ["", columns, "|---|--:|--:|--:|--:|"]
    for moment, words in moments:
        memory = report[moment]
        cells = [memory[name] / MIB for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")]
        lines.append(f"| {words} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " |")
    plan = report["plan"]
    parts = ["weights", "kv_cache", "adapters", "workspace"]
    planned = " + ".join(f"{part} {plan[part] / MIB:.0f}" for part in parts)
    lines += ["", f"Plan: {plan['total'] / MIB:.0f} MiB = {planned}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
