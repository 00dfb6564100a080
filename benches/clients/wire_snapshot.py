"""Records all output of a `farthing` binary for programs, so that `diff -r` can compare two builds.

    python benches/clients/wire_snapshot.py target/release/farthing /tmp/after
    diff -r /tmp/before /tmp/after

The binary serves the demo model on the CPU with a ledger. The script sends it a fixed list of requests
one by one, then runs every subcommand. It masks ids, times, measured figures and paths; it does not mask
tokens, texts, field names and their order, headers and status codes. `messages/` holds the text for
people (help, errors, the banner), which may change. The rest is a contract and must stay the same.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

ADMIN_KEY = "open sesame"
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
JSON = {"Content-Type": "application/json"}
DEMO = "smollm2-135m-instruct"
DEMO_ADAPTERS = pathlib.Path(__file__).parents[2] / "models" / "adapters"

# Fields whose values differ from run to run.
MEASURED = re.compile(
    r"seconds|usd|share|^(id|created|residuals|factor|load_factor|utilization|utilisation|refits|"
    r"fitted_.*|r_squared|residual_p95|expected_over_measured|curve|rivals|recent|latency|bytes|"
    r"resident_bytes|basis|quantity|value|read_on|day|stale|version|loads|memory_plan|"
    r"start_time|end_time|next_page|busy|loaded|at_capacity)$"
)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *QUESTION]
CHAT = {"model": DEMO, "messages": QUESTION, "temperature": 0, "max_tokens": 8}
COMPLETION = {"model": DEMO, "prompt": "The river runs", "temperature": 0, "max_tokens": 8}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
CONTINUOUS = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}

# Name, path, body.
POSTS = [
    ("chat", "/v1/chat/completions", CHAT),
    ("chat-system", "/v1/chat/completions", CHAT | {"messages": SYSTEM}),
    ("chat-user", "/v1/chat/completions", CHAT | {"user": "someone"}),
    ("chat-n", "/v1/chat/completions", CHAT | {"n": 2, "temperature": 1, "seed": 7}),
    ("chat-logprobs", "/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 3}),
    ("chat-stop", "/v1/chat/completions", CHAT | {"stop": ["Paris"]}),
    ("chat-stream", "/v1/chat/completions", CHAT | {"stream": True}),
    ("chat-stream-usage", "/v1/chat/completions", CHAT | STREAM),
    ("chat-stream-continuous", "/v1/chat/completions", CHAT | CONTINUOUS),
    (
        "chat-stream-logprobs",
        "/v1/chat/completions",
        CHAT | STREAM | {"logprobs": True, "top_logprobs": 2},
    ),
    ("chat-adapter", "/v1/chat/completions", CHAT | {"model": "payment-json"}),
    ("chat-adapter-stream", "/v1/chat/completions", CHAT | STREAM | {"model": "address-lines"}),
    ("chat-unknown-model", "/v1/chat/completions", CHAT | {"model": "nobody"}),
    ("chat-no-messages", "/v1/chat/completions", {"model": DEMO}),
    ("chat-tools", "/v1/chat/completions", CHAT | {"tools": [{"type": "function"}]}),
    ("chat-unknown-field", "/v1/chat/completions", CHAT | {"no_such_field": 1}),
    ("chat-too-long", "/v1/chat/completions", CHAT | {"max_tokens": 1_000_000}),
    ("chat-bad-bias", "/v1/chat/completions", CHAT | {"logit_bias": {"999999": 1}}),
    ("completion", "/v1/completions", COMPLETION),
    ("completion-list", "/v1/completions", COMPLETION | {"prompt": ["One two", "Three four"]}),
    ("completion-ids", "/v1/completions", COMPLETION | {"prompt": [504, 6104, 5084]}),
    ("completion-bad-ids", "/v1/completions", COMPLETION | {"prompt": [999999]}),
    ("completion-empty", "/v1/completions", COMPLETION | {"prompt": ""}),
    ("completion-echo", "/v1/completions", COMPLETION | {"echo": True, "logprobs": 2}),
    ("completion-echo-only", "/v1/completions", COMPLETION | {"echo": True, "max_tokens": 0}),
    ("completion-stream", "/v1/completions", COMPLETION | STREAM | {"logprobs": 1}),
    ("completion-stream-echo", "/v1/completions", COMPLETION | CONTINUOUS | {"echo": True}),
    ("completion-adapter", "/v1/completions", COMPLETION | {"model": "payment-json"}),
    ("completion-too-many", "/v1/completions", COMPLETION | {"n": 128}),
]
GETS = [
    "/v1/models",
    f"/v1/models/{DEMO}",
    "/v1/models/nobody",
    "/v1/costs/now",
    "/v1/lora_adapters",
    "/v1/organization/costs",
    "/health",
    "/ready",
    "/nowhere",
    "/v1/chat/completions",
    "/",
]
FLEET = ["--gpus", "2", "--gpu-hour", "2.5", "--slo-tokens-per-day", "50M"]
TRAFFIC = ["--tokens-per-day", "20M"]
ON = ["--on", "2026-11-24"]
USAGE = '{"prompt_tokens": 1000, "completion_tokens": 500}'
RATES = '{"inp": 3, "cache_read": 0.3, "out": 15}'
# Name and arguments of commands that print JSON.
PRINTED = [
    ("tco", ["tco", *TRAFFIC, "--against", "gpt-4o", *ON, *FLEET, "--json"]),
    ("tco-prices", ["tco", *TRAFFIC, "--price-in", "3", "--price-out", "15", "--json"]),
    ("compare", ["compare", *TRAFFIC, *ON, *FLEET, "--json"]),
    (
        "compare-tokenizer",
        ["compare", *TRAFFIC, *ON, *FLEET, "--tokenizer", "mistral-sp", "--text", "json", "--json"],
    ),
    ("price", ["price", "--rates", RATES, "--usage", USAGE, "--schema", "subset", "--json"]),
    ("price-model", ["price", "--model", "gpt-4o", "--usage", USAGE, *ON, "--json"]),
    ("price-list", ["price", "--list", "gpt", *ON, "--json"]),
    ("inspect", ["adapters", "inspect", str(DEMO_ADAPTERS / "payment-json"), "--json"]),
    (
        "inspect-model",
        ["adapters", "inspect", str(DEMO_ADAPTERS / "payment-json"), "--model", DEMO, "--json"],
    ),
]
SUBCOMMANDS = [
    [],
    ["serve"],
    ["selftest"],
    ["adapters"],
    ["adapters", "inspect"],
    ["tco"],
    ["price"],
    ["compare"],
    ["bench"],
    ["ledger"],
    ["ledger", "invoice"],
    ["ledger", "export"],
]
# Commands that fail; their error messages are recorded.
REFUSED = [
    ["tco"],
    ["tco", *TRAFFIC, "--gpu-hour", "2"],
    ["tco", *TRAFFIC, "--gpus", "1", "--price-in", "1"],
    ["compare", *TRAFFIC],
    ["compare", *TRAFFIC, *FLEET, "--against", "nobody"],
    ["compare", *TRAFFIC, *FLEET, "--endpoint", "nobody"],
    ["price", "--model", "nobody", "--usage", USAGE],
    ["price", "--rates", "{}", "--usage", USAGE],
    ["serve", "--model", "nobody"],
    ["serve", "--max-num-seqs", "0"],
    ["serve", "--max-adapters", "0", "--adapter-dir", "."],
    ["serve", "--model", "./nobody"],
    ["serve", "--device", "tpu"],
    ["serve", "--kv-cache-memory", "0"],
    ["serve", "--max-model-len", "1000000"],
    ["serve", "--adapter", "nobody"],
    ["adapters", "inspect", "nobody"],
    ["bench", "--base-url", "nobody"],
    ["bench", "--base-url", "http://127.0.0.1:1"],
    ["ledger", "invoice", "--ledger", "none"],
    ["ledger", "export", "--format", "csv", "--out", "-", "--ledger", "nobody.sqlite3"],
]


class Snapshot:
    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary = binary
        self.folder = folder
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = text.replace(str(self.scratch), "SCRATCH").replace(str(self.port), "PORT")
        path.write_text(text.rstrip("\n") + "\n")

    def ask(self, name: str, method: str, path: str, body: bytes | None, headers: dict) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        kept = [f"{key}: {value}" for key, value in sorted(response.getheaders()) if key != "date"]
        kept = [re.sub(r"content-length: .*", "content-length: N", line) for line in kept]
        is_json = "json" in (response.headers.get("content-type") or "")
        # An error's message is text for people, so it is kept apart.
        folder = "wire" if response.status < 400 else "refusals"
        if folder == "refusals" and is_json:
            answer = json.loads(text)
            self.write(f"messages/{name}", str(answer["error"]["message"]))
            answer["error"]["message"] = "MESSAGE"
            text = json.dumps(answer)
        if "/costs/now" in path:
            text = re.sub(r"(?<=[:\[,])-?[\d.]+(e-?\d+)?(?=[,\]}])", '"N"', text)
        if path.startswith("/v1/organization/costs") and response.status == 200:
            text = json.dumps(without_rounding(json.loads(text)))
        lines = [masked_line(line, is_json) for line in text.split("\n")]
        self.write(f"{folder}/{name}", "\n".join([str(response.status), *kept, "", *lines]))

    def post(self, name: str, path: str, body: dict, headers: dict = {}) -> None:
        self.ask(name, "POST", path, json.dumps(body).encode(), JSON | headers)

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "RUST_LOG": "warn"}
        return subprocess.run(
            [self.binary, *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
            cwd=self.scratch,
        )

    def serve(self) -> None:
        shutil.copytree(DEMO_ADAPTERS / "payment-json", self.scratch / "adapters" / "extra")
        log = (self.scratch / "log").open("w+")
        flags = ["--device", "cpu", "--port", str(self.port), "--admin-key", ADMIN_KEY]
        flags += ["--adapter-dir", str(self.scratch / "adapters"), "--max-queue", "64"]
        flags += ["--slo-tokens-per-second", "100", "--ledger", str(self.scratch / "ledger.sqlite3")]
        environment = os.environ | {"RUST_LOG": "info"}
        process = subprocess.Popen(
            [self.binary, "serve", *flags],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            self.wait_until_ready(process)
            self.requests()
            self.ledger()
            said = (self.scratch / "log").read_text()
            self.bench()
        finally:
            process.terminate()
            process.wait(timeout=60)
        # Concurrent requests may be logged in any order.
        lines = sorted(masked_log(line) for line in said.split("\n"))
        self.write("messages/log", "\n".join(lines))

    def wait_until_ready(self, process: subprocess.Popen) -> None:
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError("farthing ended: " + (self.scratch / "log").read_text())
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    pass
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError("farthing did not start")

    def requests(self) -> None:
        for name, path, body in POSTS:
            self.post(name, path, body)
        for path in GETS:
            self.ask("GET" + path.replace("/", "_"), "GET", path, None, {})
        self.ask("costs_now-admin", "GET", "/v1/costs/now", None, ADMIN)
        self.ask("not-json", "POST", "/v1/chat/completions", b"{", JSON)
        self.ask("no-content-type", "POST", "/v1/chat/completions", b"{}", {})
        self.ask("other-method", "DELETE", "/v1/models", None, {})
        load = {"lora_name": "second", "lora_path": "extra"}
        self.post("load-without-key", "/v1/load_lora_adapter", load)
        self.post("load", "/v1/load_lora_adapter", load, ADMIN)
        self.post("load-again", "/v1/load_lora_adapter", load, ADMIN)
        self.post("load-in-place", "/v1/load_lora_adapter", load | {"load_inplace": True}, ADMIN)
        nowhere = {"lora_name": "third", "lora_path": "nowhere"}
        self.post("load-nowhere", "/v1/load_lora_adapter", nowhere, ADMIN)
        base = {"lora_name": DEMO, "lora_path": "extra"}
        self.post("load-base-name", "/v1/load_lora_adapter", base, ADMIN)
        self.post("chat-second", "/v1/chat/completions", CHAT | {"model": "second"})
        self.post("chat-by-directory", "/v1/chat/completions", CHAT | {"model": "extra"})
        self.ask("lora_adapters", "GET", "/v1/lora_adapters", None, {})
        self.post("unload", "/v1/unload_lora_adapter", {"lora_name": "second"}, ADMIN)
        self.post("unload-again", "/v1/unload_lora_adapter", {"lora_name": "second"}, ADMIN)
        self.hang_up()
        # Rows are written within 250 ms.
        time.sleep(1.5)
        start = int(time.time()) // 86400 * 86400
        groups = "&group_by=model&group_by=adapter&group_by=tenant"
        for name, query in [
            ("usage", f"usage/completions?start_time={start}{groups}&user_ids=someone"),
            ("costs", f"costs?start_time={start}&group_by=line_item&group_by=tenant"),
            ("costs-plain", f"costs?start_time={start}"),
            ("costs-bad", "costs?start_time=yesterday"),
        ]:
            self.ask(f"organization-{name}", "GET", f"/v1/organization/{query}", None, ADMIN)
        self.metrics()

    def hang_up(self) -> None:
        """Disconnects during a streamed answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = CHAT | {"stream": True, "max_tokens": 400, "ignore_eos": True}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), JSON)
        connection.getresponse().readline()
        connection.close()

    def metrics(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().split("\n")
        help_lines = [line for line in lines if line.startswith("# HELP")]
        self.write("messages/metrics", "\n".join(help_lines))
        rest = [line for line in lines if not line.startswith("# HELP")]
        self.write("metrics", "\n".join(re.sub(r"\} .*", "} N", line) for line in rest))

    def bench(self) -> None:
        report = self.scratch / "bench.json"
        url = f"http://127.0.0.1:{self.port}"
        flags = ["--random-input-len", "32", "--random-output-len", "8", "--num-prompts", "48"]
        ran = self.run("bench", "--base-url", url, *flags, "--json", str(report))
        self.write("status/bench", str(ran.returncode))
        keys = "\n".join(key_paths(json.loads(report.read_text())))
        self.write("printed/bench-keys", keys)

    def commands(self) -> None:
        ledger = str(self.scratch / "ledger.sqlite3")
        window = ["--from", "0", "--group-by", "tenant,model,adapter"]
        export = ["--format", "csv", "--out", "-"]
        invoice = self.run("ledger", "invoice", "--ledger", ledger, *window, "--json")
        # The sums include the benchmark's tokens, whose number differs between runs.
        self.write("printed/invoice-keys", "\n".join(key_paths(json.loads(invoice.stdout))))
        csv = self.run("ledger", "export", "--ledger", ledger, *export)
        self.write("printed/export-header", csv.stdout.split("\n")[0])
        for name, arguments in PRINTED:
            ran = self.run(*arguments)
            self.write(f"printed/{name}", f"{ran.returncode}\n{ran.stdout}")
            ran = self.run(*[it for it in arguments if it != "--json"])
            self.write(f"messages/printed-{name}", f"{ran.returncode}\n{ran.stdout}")
        for words in SUBCOMMANDS:
            ran = self.run(*words, "--help")
            name = "-".join(["help", *words])
            self.write(f"messages/{name}", ran.stdout)
            # The flags themselves are the contract.
            flags = re.findall(r"^ +(?:-\w, )?--[^\n]*?(?=  |\n)|^Usage:.*$", ran.stdout, re.MULTILINE)
            self.write(f"flags/{name}", "\n".join(flag.strip() for flag in flags))
        for number, arguments in enumerate(REFUSED):
            ran = self.run(*arguments)
            self.write(f"status/{number}", f"{' '.join(arguments)}\n{ran.returncode}")
            self.write(f"messages/refused-{number}", f"{' '.join(arguments)}\n{ran.stderr}")
        report = self.scratch / "selftest.json"
        only = ["--only", "rates", "--op", "rms_norm", "--shape", "tiny", "--device", "cpu"]
        ran = self.run("selftest", *only, "--json", str(report))
        keys = "\n".join(key_paths(json.loads(report.read_text())))
        self.write("printed/selftest-keys", keys)

    def ledger(self) -> None:
        with sqlite3.connect(self.scratch / "ledger.sqlite3") as database:
            schema = database.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
            self.write("ledger/schema", "\n".join(str(row[0]) for row in schema))
            cursor = database.execute("SELECT * FROM attempts ORDER BY seq")
            names = [column[0] for column in cursor.description]
            measured = re.compile(r"(^|_)(us|ps|usd|seconds|run)$|^request_id$")
            rows = [
                " ".join(
                    f"{name}={'N' if measured.search(name) and value is not None else value}"
                    for name, value in zip(names, row)
                )
                for row in cursor
            ]
            # How many tokens the cancelled answer has depends on timing.
            aborted = re.compile(r"output_tokens=\d+ (.*outcome=abort)")
            rows = [aborted.sub(r"output_tokens=N \1", row) for row in rows]
            self.write("ledger/attempts", "\n".join(rows))


def without_rounding(page: dict) -> dict:
    """Drops the line for the rest of rounding to picoseconds: not every run has one."""
    for bucket in page["data"]:
        results = bucket["results"]
        bucket["results"] = [it for it in results if "not_split" not in (it["line_item"] or "")]
    return page


def masked(value, key: str = ""):
    if isinstance(value, dict):
        return {name: masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        is_moments = key == "recent"
        return "MOMENTS" if is_moments else [masked(inner, key) for inner in value]
    if isinstance(value, str) and re.match(r"(chatcmpl|cmpl)-[0-9a-f]{32}$", value):
        return value.split("-")[0] + "-ID"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_number = is_number or isinstance(value, str) and re.fullmatch(r"[-\d.]+(E-?\d+)?", value)
    if MEASURED.search(key) and (is_number or key in ("basis", "version", "next_page", "usd")):
        return "N"
    return value


def masked_json(text: str) -> str:
    return json.dumps(masked(json.loads(text)), indent=1, ensure_ascii=False)


def masked_line(line: str, is_json: bool) -> str:
    if line.startswith("data: {"):
        line, is_json = line[len("data: ") :], True
    if is_json and line.startswith(("{", "[")):
        return masked_json(line)
    return line


def masked_log(line: str) -> str:
    line = re.sub(r"\x1b\[[\d;]*m", "", line)
    line = re.sub(r"^\d{4}-\d\d-\d\dT\S+", "TIME", line)
    # Structured fields keep their names.
    line = re.sub(r"((?:device_)?seconds|basis)=\S+", r"\1=N", line)
    return re.sub(r"^( +(?:meter|memory|device) ).*", r"\1...", line)


def key_paths(value, path: str = "") -> list[str]:
    """Returns the names and types of all fields in order; of a list, those of its first element."""
    if isinstance(value, dict):
        paths = [key_paths(inner, f"{path}.{name}") for name, inner in value.items()]
        return [line for lines in paths for line in lines]
    if isinstance(value, list):
        return key_paths(value[0], f"{path}[]") if value else [f"{path}[] empty"]
    kind = "number" if isinstance(value, (int, float)) and value is not True else type(value).__name__
    return [f"{path} {kind}"]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    binary, folder = sys.argv[1:]
    folder = pathlib.Path(folder)
    if folder.exists():
        shutil.rmtree(folder)
    snapshot = Snapshot(os.path.abspath(binary), folder)
    try:
        snapshot.serve()
        snapshot.commands()
    finally:
        shutil.rmtree(snapshot.scratch)


if __name__ == "__main__":
    main()
