#!/usr/bin/env python3
"""Measures a small chat alone, and beside callers that take much: callers that never read, streams, and
prompts of 16 MB that cannot fit. The limit is twice its time alone plus one step: the longest mean
step of the load."""

import argparse
import http.client
import json
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
    """Threads that repeat a request until the end of the block, and the statuses that they got."""

    def __init__(self, threads: int, request):
        self.ended = threading.Event()
        self.statuses: dict[str, int] = {}
        self.longest_seconds = 0.0
        self.threads = [threading.Thread(target=self._run, args=(request,)) for _ in range(threads)]

    def _run(self, request) -> None:
        while not self.ended.is_set():
            started = time.perf_counter()
            try:
                status = str(request())
            except OSError as error:
                status = type(error).__name__
            self.longest_seconds = max(self.longest_seconds, time.perf_counter() - started)
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def __enter__(self) -> "Background":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a model as in `serve`; the demo model by default")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--slow", type=int, default=12)
    parser.add_argument("--large", type=int, default=1, help="16 MB prompts at any time")
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

        def stream() -> int:
            return post(server.address, "/v1/completions", small)[0]

        def prompt() -> int:
            return post(server.address, "/v1/completions", large)[0]

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
            before = server.metrics()
            callers = [never_read(server, model) for _ in range(slow)]
            with Background(streams, stream) as many, Background(prompts, prompt) as huge:
                time.sleep(3)
                beside = [chat(server, model) for _ in range(arguments.chats)]
            after = server.metrics()
            for caller in callers:
                caller.close()
            steps = after["farthing_steps_total"] - before["farthing_steps_total"]
            seconds = after["farthing_step_seconds_total"] - before["farthing_step_seconds_total"]
            step = seconds / steps if steps else 0.0
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
                    "longest_large_prompt_seconds": huge.longest_seconds,
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
