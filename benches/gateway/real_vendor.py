#!/usr/bin/env python3
"""Runs every mode of a route against a real second server: llama.cpp's, through a proxy that breaks things.

    python benches/gateway/real_vendor.py --farthing target/release/farthing --model DEMO.gguf

Needs `llama-cpp-python[server]` and `openai` in the Python that runs it. Ends with status 1 if a client saw
more than it should, an attempt has no row, or the sums of the ledger are not exact.
"""

import argparse
import asyncio
import csv
import io
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import openai

INPUT_USD, OUTPUT_USD = Decimal("0.10"), Decimal("0.40")
MESSAGES = [{"role": "user", "content": "Write one sentence about the sea."}]
FAILURES = []


def check(what, is_true, detail=""):
    print(f"  {'ok  ' if is_true else 'FAIL'} {what} {detail}", flush=True)
    if not is_true:
        FAILURES.append(what)


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Proxy:
    """Passes bytes to the vendor, or breaks the answer in one of several ways."""

    def __init__(self, vendor_port):
        self.vendor_port, self.port, self.mode, self.requests = vendor_port, free_port(), "pass", 0
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.run, daemon=True).start()
        time.sleep(0.2)

    def run(self):
        asyncio.set_event_loop(self.loop)
        server = asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.loop.run_until_complete(server)
        self.loop.run_forever()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
                body = await reader.readexactly(length)
                self.requests += 1
                if not await self.answer(head, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head, body, writer):
        """Whether the connection can be used again."""
        mode = self.mode
        chunked = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        if mode == "storm":
            text = b'{"error": {"message": "slow down", "type": "rate_limit_error"}}'
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
                         b"content-length: %d\r\n\r\n" % len(text) + text)
            await writer.drain()
            return True
        if mode == "garbage":
            writer.write(chunked + b"data: {not json\n\ndata: [DONE]\n\n")
            await writer.drain()
            return False
        if mode == "stall":
            writer.write(chunked + b": hello\n\n")
            await writer.drain()
            await asyncio.sleep(60)
            return False
        vendor_reader, vendor_writer = await asyncio.open_connection("127.0.0.1", self.vendor_port)
        head = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head)
        vendor_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
        events = 0
        while data := await vendor_reader.read(65536):
            events += data.count(b'"content"')
            writer.write(data)
            await writer.drain()
            if mode == "kill" and events >= 4:
                writer.transport.abort()
                break
        vendor_writer.close()
        return False


def farthing(args, port, directory, routes):
    process = subprocess.Popen(
        [args.farthing, "--port", str(port), "--ledger", f"{directory}/ledger.sqlite3", "--routes", routes],
        stdout=subprocess.DEVNULL, stderr=open(f"{directory}/farthing.log", "w"),
    )
    wait_for(f"http://127.0.0.1:{port}/ready")
    return process


def wait_for(url):
    for _ in range(600):
        try:
            with urllib.request.urlopen(url) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"{url} does not answer")


def streamed(client, model, **more):
    """Text, finish reason, error and arm of a stream."""
    text, reason = "", None
    try:
        answer = client.chat.completions.with_raw_response.create(
            model=model, messages=MESSAGES, max_tokens=16, stream=True, **more)
        for chunk in answer.parse():
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reason = choice.finish_reason or reason
        return text, reason, None, answer.headers.get("x-farthing-arm")
    except openai.APIError as error:
        return text, reason, error, None


def rows(args, directory):
    exported = subprocess.run(
        [args.farthing, "ledger", "export", "--ledger", f"{directory}/ledger.sqlite3", "--format", "csv", "--out", "-"],
        capture_output=True, text=True, check=True).stdout
    return list(csv.DictReader(io.StringIO(exported)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--farthing", default="target/release/farthing")
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    directory = tempfile.mkdtemp()
    vendor_port, port = free_port(), free_port()
    vendor = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", "--model", args.model, "--model_alias", "small", "--port",
         str(vendor_port), "--n_ctx", "2048", "--chat_format", "chatml",
         "--interrupt_requests", "false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy = Proxy(vendor_port)
    wait_for(f"http://127.0.0.1:{vendor_port}/v1/models")
    routes = Path(directory) / "routes.toml"
    text = f"""
[vendors.llama]
dialect = "openai"
base_url = "http://127.0.0.1:{proxy.port}/v1"
timeouts = {{ first_content_seconds = 10 }}
[vendors.llama.prices.small.rates]
input = "{INPUT_USD}"
output = "{OUTPUT_USD}"

[vendors.gone]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
[vendors.gone.prices.m.rates]
input = "1"
output = "1"

[routes.guarded]
arms.ours = {{ model = "smollm2-135m-instruct", weight = 1 }}
arms.theirs = {{ vendor = "gone", model = "m", weight = 1 }}
[[experiments]]
id = "guarded-1"
route = "guarded"
baseline = "ours"
candidate = "theirs"
unit = "user"
salt = "1"
quality = {{ metric = "accepted", from = "feedback", accept_at_least = 1.0 }}
margin = 0.02
inference = {{ always_valid = {{ tuned_to = 200 }} }}
guardrails.error_rate = {{ limit = 0.02, action = "roll_back" }}
started = "2020-01-01T00:00:00Z"

[routes.split.arms]
ours = {{ model = "smollm2-135m-instruct", weight = 1 }}
theirs = {{ vendor = "llama", model = "small", weight = 1 }}

[routes.shadowed]
arms.ours = {{ model = "smollm2-135m-instruct", weight = 1 }}
arms.theirs = {{ vendor = "llama", model = "small" }}
shadow = {{ arm = "theirs" }}

[routes.safe]
fallback = ["ours"]
arms.theirs = {{ vendor = "llama", model = "small", weight = 1 }}
arms.ours = {{ model = "smollm2-135m-instruct" }}

[routes.spill]
fallback = ["ours"]
arms.ours = {{ model = "smollm2-135m-instruct", weight = 1 }}
arms.theirs = {{ vendor = "llama", model = "small" }}
[[routes.spill.rules]]
arm = "theirs"
when = {{ own_waiting_above = 0 }}
"""
    ramp = """
[routes.ramped]
fallback = ["ours"]
arms.ours = { model = "smollm2-135m-instruct", weight = 1 }
arms.theirs = { vendor = "llama", model = "small" }
ramp = { arm = "theirs", begins = "2020-01-01T00:00:00Z", step_hours = 1, shares = [SHARE] }
"""
    routes.write_text(text + ramp.replace("SHARE", "0.2"))
    server = farthing(args, port, directory, str(routes))
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=60)
    sent = 0

    print("split: 40 users, twice each")
    def ask(user):
        answer = client.chat.completions.with_raw_response.create(
            model="split", messages=MESSAGES, max_tokens=8, user=user)
        return user, answer.headers["x-farthing-arm"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [f"user-{i % 40}" for i in range(80)]))
    sent += 80
    arms = defaultdict(set)
    for user, arm in answers:
        arms[user].add(arm)
    counts = Counter(arm for arms in arms.values() for arm in arms)
    check("each user has one arm", all(len(it) == 1 for it in arms.values()))
    check("both arms have users", min(counts["ours"], counts["theirs"]) >= 8, dict(counts))

    print("shadow: the client's answer is the same with and without, whatever the shadow does")
    def greedy(model):
        answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, temperature=0)
        return answer.choices[0].message.content
    alone = greedy("smollm2-135m-instruct")
    sent += 1
    for mode in ("pass", "kill", "storm", "stall", "garbage"):
        proxy.mode = mode
        check(f"shadow, {mode}", greedy("shadowed") == alone)
        sent += 1

    def settle():
        """Asks until the vendor is asked again: after failures it is left alone for a while."""
        nonlocal sent
        proxy.mode = "pass"
        for _ in range(120):
            sent += 1
            if streamed(client, "safe")[3] == "theirs":
                return
            time.sleep(2)
        check("the vendor is asked again", False)

    print("fallback: before the first content another arm answers, after it nobody does")
    expected = {"pass": "theirs", "storm": "ours", "stall": "ours", "garbage": "ours"}
    for mode, arm in expected.items():
        settle()
        proxy.mode = mode
        got = streamed(client, "safe")
        check(f"fallback, {mode}: {arm} answers whole", got[3] == arm and got[1] in ("stop", "length"), got[2] or "")
        sent += 1
    settle()
    proxy.mode = "kill"
    content, reason, error, _ = streamed(client, "safe")
    check("killed in mid-stream: an error, no end and no second answer",
          error is not None and reason is None and content != "", repr(content))
    try:
        client.chat.completions.create(model="safe", messages=MESSAGES, max_tokens=16)
        check("killed, not streamed: an error", False)
    except openai.APIStatusError as error:
        check("killed, not streamed: an error", error.status_code == 502, error.status_code)
    sent += 2
    settle()

    print("hybrid: the engine's queue spills to the vendor")
    def spill(index):
        answer = client.chat.completions.with_raw_response.create(
            model="spill", messages=MESSAGES, max_tokens=24, user=f"flood-{index}")
        return answer.headers["x-farthing-arm"]
    with ThreadPoolExecutor(150) as pool:
        spilled = Counter(pool.map(spill, range(300)))
    sent += 300
    check("both answer", spilled["ours"] >= 64 and spilled["theirs"] > 0, dict(spilled))

    print("ramp: reloaded while streams run, forward and back")
    def arms_of(count):
        found = {}
        def one(index):
            answer = client.chat.completions.with_raw_response.create(
                model="ramped", messages=MESSAGES, max_tokens=2, user=f"ramp-{index}")
            return f"ramp-{index}", answer.headers["x-farthing-assigned-arm"]
        with ThreadPoolExecutor(8) as pool:
            found.update(pool.map(one, range(count)))
        return found
    small = arms_of(40)
    running = ThreadPoolExecutor(1).submit(
        lambda: streamed(client, "smollm2-135m-instruct", extra_body={"ignore_eos": True}))
    routes.write_text(text + ramp.replace("SHARE", "0.6"))
    time.sleep(2.5)
    large = arms_of(40)
    routes.write_text(text + ramp.replace("SHARE", "nonsense"))
    time.sleep(2.5)
    kept = arms_of(40)
    routes.write_text(text + ramp.replace("[SHARE]", "[0.000001]"))
    time.sleep(2.5)
    back = arms_of(40)
    sent += 161
    moved = {user for user, arm in small.items() if arm == "theirs"}
    check("a larger share keeps those that had moved", all(large[user] == "theirs" for user in moved),
          f"{len(moved)} then {sum(arm == 'theirs' for arm in large.values())} of 40")
    check("a broken file changes nothing", kept == large)
    check("rolled back: nobody is at the vendor", all(arm == "ours" for arm in back.values()))
    check("a stream outlives the reload", running.result()[1] == "length")

    print("guardrail: an arm that fails gets no more units")
    def guarded(index):
        try:
            answer = client.chat.completions.with_raw_response.create(
                model="guarded", messages=MESSAGES, max_tokens=1, user=f"guarded-{index}")
            return answer.headers["x-farthing-assigned-arm"]
        except openai.APIStatusError:
            return None
    with ThreadPoolExecutor(8) as pool:
        before = Counter(pool.map(guarded, range(160)))
    experiments = f"http://127.0.0.1:{port}/v1/experiments"
    is_rolled_back = False
    for _ in range(45):
        with urllib.request.urlopen(experiments) as response:
            is_rolled_back = json.load(response)["data"][0]["is_rolled_back"]
        if is_rolled_back:
            break
        time.sleep(2)
    with ThreadPoolExecutor(8) as pool:
        after = Counter(pool.map(guarded, range(200, 240)))
    sent += 200
    check("rolled back by itself", is_rolled_back and before[None] > 40 and after == {"ours": 40},
          f"{dict(before)}, then {dict(after)}")

    time.sleep(2)
    server.terminate()
    server.wait()
    entries = rows(args, directory)
    by_request = defaultdict(list)
    for row in entries:
        by_request[row["request_id"]].append(row)
    print(f"ledger: {len(entries)} attempts of {len(by_request)} requests")
    shadows = sum(request.endswith("-shadow") for request in by_request)
    check("every request has a row, and every shadow", len(by_request) == sent + shadows,
          f"{len(by_request)} of {sent} and {shadows}")
    for request in by_request.values():
        numbers = sorted(int(row["attempt"]) for row in request if row["role"] not in ("shadow", "judge", ""))
        if numbers and numbers != list(range(1, len(numbers) + 1)):
            check("attempts are numbered without gaps", False, numbers)
    vendor_rows = [row for row in entries if row["vendor"]]
    roles = Counter((row["role"], row["arm"]) for row in entries if row["role"])
    print(f"  {dict(roles)}, bills {dict(Counter(row['billed_basis'] for row in vendor_rows))}")
    billed = sum(Decimal(row["billed_usd"]) for row in vendor_rows if row["billed_usd"])
    own = sum(Decimal(row["device_seconds"]) for row in entries)
    invoice = json.loads(subprocess.run(
        [args.farthing, "ledger", "invoice", "--ledger", f"{directory}/ledger.sqlite3", "--json"],
        capture_output=True, text=True, check=True).stdout)
    invoice = invoice if isinstance(invoice, dict) else invoice[0]
    of_invoice = sum(Decimal(line["bills"]["usd"]) for line in invoice["vendors"])
    check("the invoice's bills are the rows', to the last digit", of_invoice == billed, f"{billed} USD")
    lines = sum(Decimal(line["total"]["device_seconds"]) for line in invoice["lines"] if line["requests"])
    check("the invoice's device time is the rows', to the last digit", lines == own, f"{own} s")
    vendor.terminate()
    print("passed" if not FAILURES else f"{len(FAILURES)} failed: {FAILURES}")
    sys.exit(bool(FAILURES))


if __name__ == "__main__":
    main()
