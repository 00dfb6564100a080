"""Runs `farthing` and reads its output, its metrics and its memory in /proc."""

import http.client
import json
import os
import pathlib
import re
import subprocess
import threading
import time

import machine

BINARY = machine.TARGET / "release" / "farthing"


class FarthingServer:
    """Starts the release binary on a free loopback port, and stops it. Without `--ledger=` among the
    flags it has no ledger, so that trials are not recorded in the user's ledger. `environment` is
    added to the environment of this process."""

    def __init__(
        self, *flags: str, start_timeout: float = 60.0, environment: dict[str, str] | None = None
    ):
        self.started_at = time.perf_counter()
        self.process = subprocess.Popen(
            [str(BINARY), "--port", "0", *keeping(flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | (environment or {}),
        )
        self.output: list[str] = []
        self.address: str | None = None
        self._listening = threading.Event()
        threading.Thread(target=self._read_output, daemon=True).start()
        if not self._listening.wait(start_timeout) or self.address is None:
            self.stop()
            raise RuntimeError("farthing did not start:\n" + "".join(self.output))

    def _read_output(self) -> None:
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.search(r"address\s+http://([\d.:]+)", line):
                self.address = found[1]
                self._listening.set()
        self._listening.set()

    def __enter__(self) -> "FarthingServer":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def plan(self) -> dict[str, float]:
        """Returns the printed memory plan, in bytes."""
        number = r"([\d.]+)"
        pattern = (
            rf"{number} MiB = weights {number} \+ KV cache {number} \((\d+) blocks = (\d+) tokens\)"
            rf" \+ adapters {number} \+ workspace {number}"
        )
        found = re.search(pattern, "".join(self.output))
        if not found:
            raise RuntimeError("no memory plan was printed:\n" + "".join(self.output))
        total, weights, cache, blocks, tokens, adapters, workspace = map(float, found.groups())
        mib = 1 << 20
        return {
            "total": total * mib,
            "weights": weights * mib,
            "kv_cache": cache * mib,
            "adapters": adapters * mib,
            "workspace": workspace * mib,
            "blocks": blocks,
            "tokens": tokens,
        }

    def memory(self) -> dict[str, int]:
        """Returns memory in bytes: VmHWM (the peak), VmRSS, and its parts RssAnon and RssFile."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return {
            name: int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024
            for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")
        }

    def get(self, path: str) -> str:
        with self._connection() as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        if response.status != 200:
            raise RuntimeError(f"GET {path}: {response.status} {body}")
        return body

    def metrics(self) -> dict[str, float]:
        """Returns the metrics that have no labels."""
        found = re.findall(r"^([a-z_:]+)\{[^}]*\} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return {name: float(value) for name, value in found}

    def model(self) -> str:
        return json.loads(self.get("/v1/models"))["data"][0]["id"]

    def complete(self, prompt: list[int], max_tokens: int) -> dict:
        """Requests a greedy answer of exactly `max_tokens` tokens to token ids."""
        body = {
            "model": self.model(),
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        return self.post("/v1/completions", body)

    def chat(self, body: dict) -> dict:
        return self.post("/v1/chat/completions", body)

    def post(self, path: str, body: dict) -> dict:
        with self._connection() as connection:
            connection.request("POST", path, json.dumps(body), JSON)
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer}")
        return answer

    def first_token_at(self, question: str) -> float:
        """Requests a streamed answer and returns the time of its first text."""
        body = {
            "model": self.model(),
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": 16,
            "stream": True,
        }
        with self._connection() as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), JSON)
            response = connection.getresponse()
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                choices = json.loads(line[len(b"data: ") :])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    return time.perf_counter()
        raise RuntimeError(f"no token came (status {response.status})")

    def _connection(self) -> "_Closing":
        return _Closing(self.address)


def keeping(flags: tuple[str, ...]) -> list[str]:
    is_kept = any(flag.startswith("--ledger") for flag in flags)
    return [*flags] if is_kept else [*flags, "--ledger=none"]


JSON = {"Content-Type": "application/json"}


class _Closing(http.client.HTTPConnection):
    """Opens a connection for one request."""

    def __init__(self, address: str):
        super().__init__(address, timeout=900)

    def __enter__(self) -> http.client.HTTPConnection:
        return self

    def __exit__(self, *_) -> None:
        self.close()
