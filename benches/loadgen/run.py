"""Runs `farthing bench` against Farthing and llama.cpp's server, and compares it with another load client.

    pip install 'llama-cpp-python[server]==0.3.36'     # builds llama.cpp from source, some minutes
    pip install guidellm==0.8.1                        # for --against guidellm
    python benches/loadgen/run.py [--rounds 3] [--against guidellm] [--note quiet]

Both servers serve the demo's GGUF file on the loopback interface. `farthing bench` runs the same
closed-loop load against each in turn. With --against, another client runs that load against Farthing,
through a proxy that records the streams with their times. The proxy then replays the same streams with the
same times to `farthing bench`. The two clients' figures of this one run must agree within 5 %. Two separate
runs of the same load would differ by more, since it is a matter of chance which requests share a batch.
Servers use all cores but the last, and clients use the last one, so that a client does not slow down the
server that it measures. Prints a table and writes it, with every single report, to benches/results/.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import farthing_server
import machine
from recording_proxy import RecordingProxy

HOURLY_PRICE = "0.10"
AGREEMENT = 0.05
FIGURES = [
    ("completed", "answers"),
    ("failed", "failed"),
    ("mean_input_tokens", "mean input tokens"),
    ("mean_output_tokens", "mean output tokens"),
    ("request_throughput", "requests/s"),
    ("output_throughput", "output tok/s"),
    ("total_token_throughput", "total tok/s"),
    *[
        (f"{figure}_{metric}_ms", f"{figure} {metric.upper()}, ms")
        for metric in ("ttft", "tpot", "itl", "e2el")
        for figure in ("mean", "median", "p95", "p99")
    ],
]
CLASSES = ["input", "cached", "output"]
METRICS = ["median_ttft_ms", "mean_ttft_ms", "median_tpot_ms", "mean_tpot_ms"]


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--model", type=pathlib.Path, help="GGUF file [default: the demo in the cache]")
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--concurrency", type=int, default=4)
    args.add_argument("--requests", type=int, default=24, help="measured requests in each round")
    args.add_argument("--input-len", type=int, default=128)
    args.add_argument("--output-len", type=int, default=32)
    args.add_argument("--against", choices=["guidellm"], help="compare with another client on the same load")
    args.add_argument("--guidellm", default="guidellm", help="the command of GuideLLM")
    args.add_argument("--python", default=sys.executable, help="Python with llama-cpp-python's server")
    args.add_argument("--note", default="", help="other load on the machine; stored with the result")
    a = args.parse_args()
    model = a.model or machine.cached_demo()
    servers, clients = cores()
    report = machine.describe(" ".join(["python benches/loadgen/run.py", *given(a)]), a.note)
    report |= {"model": model.name, "cores_of_servers": servers, "cores_of_clients": clients}
    os.sched_setaffinity(0, servers)
    with contextlib.ExitStack() as stack:
        farthing = stack.enter_context(
            farthing_server.FarthingServer(
                f"--model={model}", "--served-model-name=demo", f"--price-per-hour={HOURLY_PRICE}"
            )
        )
        llama_cpp = stack.enter_context(LlamaCppServer(a.python, model, len(servers)))
        os.sched_setaffinity(0, clients)
        addresses = {"farthing": f"http://{farthing.address}", "llama.cpp": llama_cpp.address}
        report["side_by_side"] = side_by_side(a, addresses)
        if a.against:
            report["against"] = against_guidellm(a, addresses["farthing"], farthing)
    text = machine.heading("`farthing bench`", report) + table(a, report["side_by_side"])
    if a.against:
        text += agreement(a, report["against"])
    machine.keep("loadgen", report, "\n".join(text))
    if a.against and not agrees(report["against"]):
        sys.exit(f"the two clients differ by more than {AGREEMENT:.0%}")


def given(a: argparse.Namespace) -> list[str]:
    flags = ["rounds", "concurrency", "requests", "input_len", "output_len", "against"]
    values = [(flag.replace("_", "-"), getattr(a, flag)) for flag in flags]
    return [f"--{flag} {value}" for flag, value in values if value is not None]


def cores() -> tuple[list[int], list[int]]:
    """Returns the cores of the servers and those of the clients."""
    all_cores = sorted(os.sched_getaffinity(0))
    if len(all_cores) < 2:
        sys.exit("this needs two cores: one for the servers, one for the clients")
    return all_cores[:-1], all_cores[-1:]


class LlamaCppServer:
    """Starts llama.cpp with llama-cpp-python's server, on a free loopback port."""

    def __init__(self, python: str, model: pathlib.Path, threads: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        # By default, this server aborts an answer when the next request arrives.
        flags = f"--port {port} --n_ctx 2048 --n_threads {threads} --n_threads_batch {threads}"
        flags += " --interrupt_requests False --model_alias demo --verbose False"
        command = [python, "-m", "llama_cpp.server", "--model", str(model), *flags.split()]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def __enter__(self) -> "LlamaCppServer":
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.address}/v1/models"):
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.__exit__()
        self.log.seek(0)
        sys.exit("llama.cpp's server did not start:\n" + self.log.read())

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def side_by_side(a: argparse.Namespace, addresses: dict[str, str]) -> dict[str, list[dict]]:
    reports = {side: [] for side in addresses}
    for turn in range(a.rounds):
        # The order changes every round.
        for side in sorted(addresses, reverse=turn % 2 == 1):
            more = []
            if side == "llama.cpp":
                # llama.cpp's server has no `ignore_eos`.
                more = ["--extra-body", json.dumps({"min_tokens": a.output_len})]
            more += ["--label", side, "--price-per-hour", HOURLY_PRICE]
            reports[side].append(farthing_bench(a, addresses[side], seed(turn, side), more))
            print(f"round {turn + 1}, {side}", file=sys.stderr, flush=True)
    return reports


def farthing_bench(a: argparse.Namespace, address: str, seed: int, more: list[str]) -> dict:
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "report.json"
        command = [
            str(farthing_server.BINARY),
            "bench",
            *f"--base-url {address} --model demo --seed {seed} --json {path}".split(),
            *f"--max-concurrency {a.concurrency} --num-prompts {a.requests}".split(),
            *f"--random-input-len {a.input_len} --random-output-len {a.output_len}".split(),
            "--ignore-eos",
            *more,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600)
        if done.returncode != 0:
            sys.exit(f"{shlex.join(command)} ended with status {done.returncode}")
        return json.loads(path.read_text())


def seed(turn: int, who: str) -> int:
    """Returns a seed that differs for each load: a server may have cached earlier prompts."""
    return turn * 2 + ["farthing", "llama.cpp"].index(who)


def against_guidellm(
    a: argparse.Namespace, address: str, farthing: farthing_server.FarthingServer
) -> dict[str, list[dict]]:
    # The tokens of the chat template count towards the length.
    usage = farthing.chat(
        {"model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "time"}]}
    )["usage"]
    words = a.input_len - (usage["prompt_tokens"] - 1)
    rounds = {"guidellm": [], "farthing bench": []}
    for turn in range(a.rounds):
        with RecordingProxy(address, a.output_len) as proxy:
            rounds["guidellm"].append(guidellm(a, proxy.address, turn, words))
            proxy.replay()
            report = farthing_bench(a, proxy.address, turn, ["--num-warmups", "0"])
        if report["completed"] != a.requests:
            sys.exit(f"farthing bench has {report['failed']} failures: {report['failures']}")
        names = ["completed", "mean_input_tokens", "mean_output_tokens", *METRICS]
        rounds["farthing bench"].append({name: report[name] for name in names})
        print(f"round {turn + 1}, guidellm and farthing bench", file=sys.stderr, flush=True)
    return rounds


def guidellm(a: argparse.Namespace, address: str, seed: int, words: int) -> dict:
    """Runs the same load with GuideLLM and returns its own figures of each request."""
    words_of = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        prompts, report = pathlib.Path(directory) / "p.jsonl", pathlib.Path(directory) / "r.json"
        lines = [
            {
                "prompt": " ".join(words_of.choices(WORDS, k=words)),
                "output_tokens_count": a.output_len,
            }
            for _ in range(a.requests)
        ]
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        backend = {
            "kind": "openai_http",
            "target": address,
            "model": "demo",
            "request_format": "/v1/chat/completions",
        }
        command = [
            *shlex.split(a.guidellm),
            "run",
            "--backend",
            json.dumps(backend),
            *f"--profile kind=concurrent,streams={a.concurrency}".split(),
            *f"--constraint kind=max_requests,count={a.requests}".split(),
            *f"--data kind=json_file,path={prompts}".split(),
            *f"--output kind=json,path={report} --disable-console".split(),
        ]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
        )
        if done.returncode != 0:
            sys.exit(f"guidellm ended with status {done.returncode}:\n{done.stdout}")
        told = json.loads(report.read_text())["benchmarks"][0]["requests"]
    if told["errored"] or len(told["successful"]) != a.requests:
        sys.exit(f"guidellm has {len(told['errored'])} errors:\n{done.stdout}")
    figures = {"completed": len(told["successful"])}
    # GuideLLM's inter-token latency is vLLM's TPOT: one figure per request.
    names = [("ttft", "time_to_first_token_ms"), ("tpot", "inter_token_latency_ms")]
    for name, theirs in names:
        values = [request[theirs] for request in told["successful"]]
        figures[f"mean_{name}_ms"] = statistics.mean(values)
        figures[f"median_{name}_ms"] = statistics.median(values)
    for name in ("prompt_tokens", "output_tokens"):
        mean = statistics.mean(request[name] for request in told["successful"])
        figures[f"mean_{name.replace('prompt', 'input')}"] = mean
    return figures


WORDS = """time people work state world place life year house part number water home school course war
system night end point next city business group room side order face form case light name story book
money land question body door road family power father mother friend""".split()


def table(a: argparse.Namespace, reports: dict[str, list[dict]]) -> list[str]:
    def median(side: str, figure) -> float | None:
        values = [value for report in reports[side] if (value := figure(report)) is not None]
        return statistics.median(values) if values else None

    rows = [(name, lambda report, key=key: report.get(key)) for key, name in FIGURES]
    for name in CLASSES:
        rows.append(
            (
                f"$ per million {name} tokens",
                lambda report, name=name: report["cost"][name]["usd_per_million"],
            )
        )
    rows.append(("$ per million tokens", lambda report: report["cost"]["usd_per_million_tokens"]))
    lines = [
        f"Closed loop of {a.concurrency}, {a.input_len} tokens in and {a.output_len} out, "
        f"{a.requests} requests after a warm-up; the median of {a.rounds} rounds. Farthing's dollars "
        "are split by its own meter, llama.cpp's evenly over computed tokens; both at "
        f"${HOURLY_PRICE} an hour.",
        "",
        "| | " + " | ".join(reports) + " |",
        "|---|" + "---|" * len(reports),
    ]
    for name, figure in rows:
        cells = [median(side, figure) for side in reports]
        if any(cell is not None for cell in cells):
            shown = ["–" if cell is None else f"{cell:.4g}" for cell in cells]
            lines.append(f"| {name} | " + " | ".join(shown) + " |")
    for side, of_side in reports.items():
        warned = sorted({warning for report in of_side for warning in report["warnings"]})
        lines += ["", f"Said of {side}: " + "; ".join(warned or ["nothing"]) + "."]
    return lines


def ratios(rounds: dict[str, list[dict]]) -> dict[str, float]:
    middle = {
        client: {name: statistics.median(it[name] for it in figures) for name in METRICS}
        for client, figures in rounds.items()
    }
    return {name: middle["farthing bench"][name] / middle["guidellm"][name] for name in METRICS}


def agrees(rounds: dict[str, list[dict]]) -> bool:
    return all(abs(ratio - 1) <= AGREEMENT for ratio in ratios(rounds).values())


def agreement(a: argparse.Namespace, rounds: dict[str, list[dict]]) -> list[str]:
    lines = [
        "",
        f"GuideLLM and `farthing bench` on the same streams of Farthing, {a.rounds} rounds: medians over "
        "the rounds. GuideLLM's inter-token latency is vLLM's TPOT.",
        "",
        "| | guidellm | farthing bench | ratio | rounds of guidellm | rounds of farthing bench |",
        "|---|---|---|---|---|---|",
    ]
    for name, ratio in ratios(rounds).items():
        cells = [
            f"{statistics.median(it[name] for it in figures):.2f}" for figures in rounds.values()
        ]
        singles = [" ".join(f"{it[name]:.1f}" for it in figures) for figures in rounds.values()]
        told = " ".join(name.split("_")[:2]).upper() + ", ms"
        lines.append(f"| {told} | {' | '.join(cells)} | {ratio:.3f} | {' | '.join(singles)} |")
    return lines


main()
