#!/usr/bin/env python3
"""Measures a small chat alone, and beside callers that take much: callers that never read, streams, and
a prompt of 16 MB each second, which cannot fit. The limit is twice its time alone plus one step: the mean
step of the load before the chats begin."""

import argparse
import collections
import http.client
import json
import multiprocessing
import os
import pathlib
import socket
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine  # noqa: E402
from farthing_server import FarthingServer  # noqa: E402

PROMPT_BYTES = 15_900_000


def post(address: str, path: str, body: bytes, timeout: float = 300) -> tuple[int, bytes]:
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, answer


def chat(server: FarthingServer, model: str) -> float:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 4,
        "temperature": 0,
        "ignore_eos": True,
    }
    started = time.perf_counter()
    status, answer = post(server.address, "/v1/chat/completions", json.dumps(body).encode())
    if status != 200:
        raise RuntimeError(f"{status} {answer[:300]}")
    return time.perf_counter() - started


def never_read(server: FarthingServer, model: str) -> socket.socket:
    """Asks for 128 choices with log-probabilities, and reads nothing."""
    body = json.dumps(
        {
            "model": model,
            "prompt": "once",
            "max_tokens": 40,
            "ignore_eos": True,
            "stream": True,
            "logprobs": 20,
            "n": 128,
        }
    )
    host, port = server.address.split(":")
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    caller.connect((host, int(port)))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.address}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    caller.sendall((head + body).encode())
    return caller


class Background:
    """Threads of another process that repeat a request until the end of the block, and the statuses that
    they got. The process has a low priority: the server and the chat need the processors."""

    def __init__(self, address: str, threads: int, body: bytes, pause_seconds: float = 0):
        self.pause_seconds = pause_seconds
        self.ended = multiprocessing.Event()
        self.results = multiprocessing.SimpleQueue()
        self.process = multiprocessing.Process(target=self._run, args=(address, threads, body))
        self.statuses: dict[str, int] = {}

    def _run(self, address: str, threads: int, body: bytes) -> None:
        os.nice(10)
        statuses: list[str] = []

        def repeat() -> None:
            while not self.ended.is_set():
                try:
                    statuses.append(str(post(address, "/v1/completions", body)[0]))
                except OSError as error:
                    statuses.append(type(error).__name__)
                self.ended.wait(self.pause_seconds)

        running = [threading.Thread(target=repeat, daemon=True) for _ in range(threads)]
        for thread in running:
            thread.start()
        self.ended.wait()
        self.results.put(dict(collections.Counter(statuses)))

    def __enter__(self) -> "Background":
        self.process.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.statuses = self.results.get()
        self.process.kill()
        self.process.join()


class Steps:
    """The mean length of the steps between two moments."""

    def __init__(self, server: FarthingServer):
        self.server = server
        self.before = server.metrics()

    def mean_seconds(self) -> float:
        after = self.server.metrics()
        count = after["farthing_steps_total"] - self.before["farthing_steps_total"]
        key = "farthing_step_seconds_total"
        return (after[key] - self.before[key]) / count if count else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a model as in `serve`; the demo model by default")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--slow", type=int, default=12)
    parser.add_argument("--large", type=int, default=1, help="callers with a 16 MB prompt a second")
    parser.add_argument("--chats", type=int, default=20)
    parser.add_argument("--note", default="")
    arguments = parser.parse_args()
    flags = ["--model", arguments.model] if arguments.model else []
    command = "python3 benches/hostile/run.py " + " ".join(sys.argv[1:])
    report = machine.describe(command.strip(), arguments.note)
    with FarthingServer(*flags, "--device=cpu") as server:
        model = server.model()
        small = {"model": model, "prompt": "once", "max_tokens": 100, "ignore_eos": True, "stream": True}
        small = json.dumps(small).encode()
        large = {"model": model, "prompt": "a " * (PROMPT_BYTES // 2), "max_tokens": 1}
        large = json.dumps(large).encode()

        for _ in range(3):
            chat(server, model)
        alone = [chat(server, model) for _ in range(arguments.chats)]
        rows = []
        for name, slow, streams, prompts in (
            ("200 streams", 0, arguments.streams, 0),
            ("16 MB prompts", 0, 0, arguments.large),
            ("callers that never read", arguments.slow, 0, 0),
            ("all together", arguments.slow, arguments.streams, arguments.large),
        ):
            callers = [never_read(server, model) for _ in range(slow)]
            with (
                Background(server.address, streams, small) as many,
                Background(server.address, prompts, large, pause_seconds=1) as huge,
            ):
                time.sleep(2)
                steps = Steps(server)
                time.sleep(3)
                step = steps.mean_seconds()
                beside = [chat(server, model) for _ in range(arguments.chats)]
            for caller in callers:
                caller.close()
            limit = 2 * statistics.median(alone) + step
            rows.append(
                {
                    "load": name,
                    "median_seconds": statistics.median(beside),
                    "longest_seconds": max(beside),
                    "step_seconds": step,
                    "limit_seconds": limit,
                    "ratio": statistics.median(beside) / statistics.median(alone),
                    "streams": many.statuses,
                    "large_prompts": huge.statuses,
                    "within_limit": statistics.median(beside) <= limit,
                }
            )
        report |= {"alone_seconds": alone, "rows": rows, "peak_bytes": server.memory()["VmHWM"]}
    lines = machine.heading("A small chat beside callers that take much", report)
    lines += [
        f"Alone it takes {statistics.median(alone) * 1e3:.1f} ms (median of {len(alone)}, longest "
        f"{max(alone) * 1e3:.1f} ms). The server's peak memory is {report['peak_bytes'] / 1e6:.0f} MB.",
        "",
        "| beside | median ms | longest ms | ratio | mean step ms | limit ms | 16 MB prompts |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['load']} | {row['median_seconds'] * 1e3:.1f} | {row['longest_seconds'] * 1e3:.1f} | "
            f"{row['ratio']:.2f} | {row['step_seconds'] * 1e3:.1f} | {row['limit_seconds'] * 1e3:.1f} | "
            f"{row['large_prompts'] or ''} |"
        )
    machine.keep("hostile", report, "\n".join(lines) + "\n")
    if not rows[-1]["within_limit"]:
        sys.exit("all together is beyond the limit")


if __name__ == "__main__":
    main()
