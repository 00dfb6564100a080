"""Serves a small model on a CUDA device, emulated or real, and compares every answer with the CPU's.

    eval "$(.ci/cuda-toolkit)" && cargo build --release --features cuda
    kernels/emulator/device/build target/emulated-device
    python3 benches/emulated/run.py target/emulated-device
    python3 benches/emulated/run.py             # on a GPU

Two servers of the release binary get the same requests. One uses the emulated device that does its work
at once, the other the emulated device that does its work as late as possible. The requests are streamed
chats, sampled answers, a repeated prompt, several adapters in one load (more than the device has slots),
an adapter that is replaced under the same name during an answer, more sequences than the KV cache holds,
and clients that disconnect. On a GPU there is only one server.

Then a server on the CPU gets each prompt with its answer, and returns the log-probability of every token
at its position and that of the most likely token there. A greedy token must be the CPU's most likely one,
or its log-probability must be less than 0.5 below, since a device rounds more values to 16 bits. The
log-probability of every token, also of sampled ones, must equal the CPU's except for rounding. Both
devices must agree in every bit wherever a request runs alone. Exits with status 1 if a check fails.
"""

import argparse
import concurrent.futures
import dataclasses
import http.client
import json
import pathlib
import sys
import tempfile
import threading
import time

import fixture
from farthing_server import JSON, FarthingServer

CLEAR_GAP = 0.5
# Bounds on the difference between log-probabilities of a token: the largest, and the mean.
LOGPROB_BOUNDS = {"most": 0.6, "mean": 0.06}
ADMIN_KEY = "for this run only"
HEADERS = JSON | {"Authorization": f"Bearer {ADMIN_KEY}"}
SEQUENCES, STEP_TOKENS, SLOTS = 8, 64, 2
# 52 blocks of 16 tokens, for 8 sequences of up to 170.
KV_CACHE_GIB = 0.0012
LONG_PROMPT = "The quick brown fox jumps over the lazy dog, again and again. " * 2
FLAGS = [
    "--dtype=bf16",
    f"--max-model-len={fixture.CONTEXT}",
    f"--max-num-seqs={SEQUENCES}",
    f"--max-num-batched-tokens={STEP_TOKENS}",
    f"--kv-cache-memory={KV_CACHE_GIB}",
    f"--max-adapters={SLOTS}",
    "--max-lora-rank=16",
    f"--admin-key={ADMIN_KEY}",
]


@dataclasses.dataclass(frozen=True)
class Token:
    text: bytes
    logprob: float


@dataclasses.dataclass
class Answer:
    adapter: str  # the adapter that gave the answer, or "model"
    prompt: str
    is_greedy: bool
    tokens: list[Token] = dataclasses.field(default_factory=list)
    generation: str | None = None
    cached_tokens: int = 0


class Failure(Exception):
    pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    emulator_help = "the folder of the emulated device [default: use a GPU]"
    parser.add_argument("emulator", nargs="?", type=pathlib.Path, help=emulator_help)
    emulator = parser.parse_args().emulator
    with tempfile.TemporaryDirectory() as directory:
        files = pathlib.Path(directory)
        fixture.write_model(files / "model")
        fixture.write_adapters(files / "adapters")
        sides = devices(files, emulator)
        try:
            for device in sides:
                started = time.monotonic()
                device.play()
                seconds = time.monotonic() - started
                print(f"{device.mode:<6} {len(device.answers)} answers, {seconds:.0f} s")
            compare_with_cpu(files, sides)
            if emulator:
                compare_devices(*sides)
        except (Failure, RuntimeError) as failure:
            sys.exit(f"\n{failure}")
    print("The device answers as the CPU does.")


def devices(files: pathlib.Path, emulator: pathlib.Path | None) -> list["Device"]:
    if emulator is None:
        return [Device(files, "gpu", {})]
    emulated = {
        "LD_LIBRARY_PATH": str(emulator.resolve()),
        "FARTHING_EMULATED_MEMORY_MIB": "768",
    }
    modes = ("eager", "late")
    return [Device(files, mode, emulated | {"FARTHING_EMULATED_DEVICE": mode}) for mode in modes]


class Device:
    """A server on a device, and its answers."""

    def __init__(self, files: pathlib.Path, mode: str, environment: dict[str, str]):
        self.files = files
        self.mode = mode
        # With a shared cache, it would use the calibration of another run.
        cache = {"FARTHING_CACHE": str(files / mode)}
        self.environment = environment | cache
        # The keys name the requests. `alone` has the keys of requests that ran alone.
        self.answers: dict[str, Answer] = {}
        self.alone: set[str] = set()

    def play(self) -> None:
        with serve(self.files, "cuda", self.environment) as server:
            self.server = server
            try:
                self.chats()
                self.samples()
                self.prefix_hits()
                self.hot_swap()
                self.mixed_adapters()
                self.preemption()
                self.aborts()
                self.health()
            except Exception as error:
                raise Failure(f"{error}\n\n{''.join(server.output[-40:])}") from error

    def chats(self) -> None:
        for model in ("model", "red", "green"):
            self.keep_alone(f"chat {model}", self.ask(model, "What is the capital of France?", 24))

    def samples(self) -> None:
        """Uses every sampling parameter. Devices draw the same random numbers, so they must agree."""
        bias = {str(token): -5.0 for token in range(258, 290)}
        penalties = {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2}
        for name, parameters in {
            "cool": {"temperature": 0.3},
            "top-p": {"temperature": 1.0, "top_p": 0.8},
            "top-k": {"temperature": 1.5, "top_k": 7, "min_p": 0.02},
            "penalties": {"temperature": 0.8, "logit_bias": bias, **penalties},
        }.items():
            answer = self.ask("model", f"Tell a story of {name}.", 16, seed=7, **parameters)
            self.keep_alone(f"sampled {name}", answer)

    def prefix_hits(self) -> None:
        first = self.ask("red", LONG_PROMPT, 12)
        second = self.ask("red", LONG_PROMPT, 12)
        if first.cached_tokens > 0 or second.cached_tokens < len(LONG_PROMPT) // 16 * 16 - 16:
            raise Failure(f"cached tokens: {first.cached_tokens}, then {second.cached_tokens}")
        self.keep_alone("prefix first", first)
        self.keep_alone("prefix again", second)

    def hot_swap(self) -> None:
        self.load("changing", "green", in_place=False)
        began = threading.Event()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            old = pool.submit(self.ask, "changing", "Say something long.", 60, began=began)
            if not began.wait(120):
                raise Failure("the answer before the swap did not begin")
            self.load("changing", "swapped", in_place=True)
            new = self.ask("changing", "Say something long.", 24)
        if new.generation == old.result().generation:
            raise Failure(f"both answers name generation {new.generation}")
        # On the CPU, each of the two adapters has its own name.
        old.result().adapter, new.adapter = "green", "swapped"
        self.answers |= {"before the swap": old.result(), "after the swap": new}

    def mixed_adapters(self) -> None:
        models = ["model", "red", "green", "blue"]
        asked = {
            f"mixed {i} {models[i % 4]}": (models[i % 4], LONG_PROMPT[: 3 + 17 * (i % 7)] + "?", 20)
            for i in range(12)
        }
        self.together(asked)

    def preemption(self) -> None:
        models = ["model", "red"]
        self.together(
            {
                f"crowd {i} {models[i % 2]}": (models[i % 2], f"{i}: {LONG_PROMPT[:40]}", 110)
                for i in range(SEQUENCES)
            }
        )
        if self.server.metrics()["vllm:num_preemptions_total"] == 0:
            raise Failure("nothing was preempted: the KV cache is too large for this test")

    def aborts(self) -> None:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            left = [pool.submit(self.leave, model) for model in ("model", "red", "green")]
            self.answers["beside aborts"] = self.ask("model", "Who is still here?", 30)
            for future in left:
                future.result()
        deadline = time.monotonic() + 60
        while self.server.metrics()["vllm:num_requests_running"] > 0:
            if time.monotonic() > deadline:
                raise Failure("sequences still run whose clients went away a minute ago")
            time.sleep(0.05)
        self.keep_alone("after aborts", self.ask("red", "And now?", 16))

    def health(self) -> None:
        metrics = self.server.metrics()
        if metrics["farthing_failed_seconds_total"] != 0:
            raise Failure("a step failed")
        if metrics["farthing_aborted_seconds_total"] == 0:
            raise Failure("nothing was aborted")

    def together(self, asked: dict[str, tuple[str, str, int]]) -> None:
        with concurrent.futures.ThreadPoolExecutor(max_workers=len(asked)) as pool:
            futures = {name: pool.submit(self.ask, *what) for name, what in asked.items()}
            self.answers |= {name: future.result() for name, future in futures.items()}

    def keep_alone(self, name: str, answer: Answer) -> None:
        self.answers[name] = answer
        self.alone.add(name)

    def ask(
        self,
        model: str,
        text: str,
        max_tokens: int,
        *,
        began: threading.Event | None = None,
        **parameters,
    ) -> Answer:
        """Requests a streamed answer of exactly `max_tokens`; greedy unless `parameters` say otherwise."""
        answer = Answer(model, text, is_greedy=not parameters)
        for chunk in self.stream(model, text, max_tokens, parameters):
            for choice in chunk["choices"]:
                answer.tokens += tokens(choice.get("logprobs"))
            if began is not None and answer.tokens:
                began.set()
            if adapter := chunk.get("adapter"):
                answer.generation = adapter["generation"]
            if usage := chunk.get("usage"):
                answer.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
        if len(answer.tokens) != max_tokens:
            raise Failure(f"{model}: {len(answer.tokens)} tokens came, not {max_tokens}")
        return answer

    def leave(self, model: str) -> None:
        """Disconnects after the third chunk of a long answer."""
        for count, _ in enumerate(self.stream(model, "Talk for ever.", 400, {})):
            if count == 3:
                return

    def stream(self, model: str, text: str, max_tokens: int, parameters: dict):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "logprobs": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        connection = http.client.HTTPConnection(self.server.address, timeout=240)
        try:
            content = json.dumps(body | parameters)
            connection.request("POST", "/v1/chat/completions", content, HEADERS)
            response = connection.getresponse()
            if response.status != 200:
                raise Failure(f"{model}: {response.status} {response.read().decode()}")
            for line in response:
                if line.startswith(b"data: {"):
                    chunk = json.loads(line[len(b"data: ") :])
                    if "error" in chunk:
                        raise Failure(f"{model}: {chunk['error']}")
                    yield chunk
        finally:
            connection.close()

    def load(self, name: str, adapter: str, in_place: bool) -> None:
        body = {
            "lora_name": name,
            "lora_path": str(self.files / "adapters" / adapter),
            "load_inplace": in_place,
        }
        connection = http.client.HTTPConnection(self.server.address, timeout=60)
        connection.request("POST", "/v1/load_lora_adapter", json.dumps(body), HEADERS)
        response = connection.getresponse()
        said = response.read().decode()
        connection.close()
        if response.status != 200:
            raise Failure(f"loading {name}: {response.status} {said}")


def serve(files: pathlib.Path, device: str, environment: dict[str, str]) -> FarthingServer:
    adapters = files / "adapters"
    flags = [f"--model={files / 'model'}", f"--device={device}", *FLAGS]
    flags += [f"--adapter-dir={adapters}"]
    flags += [f"--adapter={name}={adapters / name}" for name in fixture.ADAPTERS]
    return FarthingServer(*flags, start_timeout=240, environment=environment)


def tokens(logprobs: dict | None) -> list[Token]:
    content = (logprobs or {}).get("content") or []
    return [Token(bytes(token["bytes"]), token["logprob"]) for token in content]


def compare_with_cpu(files: pathlib.Path, devices: list[Device]) -> None:
    with serve(files, "cpu", {"FARTHING_CACHE": str(files / "cpu")}) as server:
        for device in devices:
            count, unlike, distances = 0, 0, []
            for what, answer in device.answers.items():
                for i, (token, cpu) in enumerate(zip(answer.tokens, on_cpu(server, answer))):
                    name = f"{device.mode}, {what}: token {i}, {token.text!r},"
                    count += 1
                    distances.append(abs(token.logprob - cpu.logprob))
                    unlike += cpu.below_likeliest > 0
                    if answer.is_greedy and cpu.below_likeliest >= CLEAR_GAP:
                        raise Failure(f"{name} is {cpu.below_likeliest:.2f} below the CPU's likeliest")
                    if distances[-1] > LOGPROB_BOUNDS["most"]:
                        raise Failure(f"{name} has {token.logprob:.2f}, on the CPU {cpu.logprob:.2f}")
            mean = sum(distances) / count
            print(
                f"{device.mode:<6} {count} tokens, {unlike} are not the CPU's likeliest;"
                f" their logarithms are {mean:.3f} apart, at most {max(distances):.2f}"
            )
            if mean > LOGPROB_BOUNDS["mean"]:
                raise Failure("that is more than rounding")


@dataclasses.dataclass(frozen=True)
class OnCpu:
    logprob: float
    below_likeliest: float


def on_cpu(server: FarthingServer, answer: Answer) -> list[OnCpu]:
    """The CPU's log-probabilities for an answer's tokens, at their positions."""
    prompt = fixture.chat_tokens(answer.prompt)
    body = {
        "model": answer.adapter,
        "prompt": prompt + [fixture.token_of(token.text) for token in answer.tokens],
        "max_tokens": 1,
        "temperature": 0,
        "echo": True,
        "logprobs": 1,
    }
    logprobs = server.post("/v1/completions", body)["choices"][0]["logprobs"]
    places = range(len(prompt), len(prompt) + len(answer.tokens))
    return [
        OnCpu(
            logprob := logprobs["token_logprobs"][i],
            max(logprobs["top_logprobs"][i].values()) - logprob,
        )
        for i in places
    ]


def compare_devices(eager: Device, late: Device) -> None:
    for what in sorted(eager.alone):
        for i, (token, other) in enumerate(
            zip(eager.answers[what].tokens, late.answers[what].tokens)
        ):
            if token != other:
                raise Failure(f"{what}: token {i} is {token} at once, {other} as late as may be")
    count = sum(len(eager.answers[what].tokens) for what in eager.alone)
    print(f"late   {count} tokens of requests that were alone are the eager device's, bit by bit")


if __name__ == "__main__":
    main()
