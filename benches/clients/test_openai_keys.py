"""Keys and their limits, with OpenAI's client, against a server of its own.

The client must raise the exception that it documents for each refusal, and the rows of the ledger must say
who spent what.
"""

import concurrent.futures
import csv
import io
import os
import pathlib
import re
import subprocess
import time
from decimal import Decimal

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FARTHING = TARGET / "release" / "farthing"
MODEL = "smollm2-135m-instruct"
ADMIN_KEY = "the operator's own key"
# A second of the device costs 0.001 USD.
PRICE_PER_HOUR = "3.60"
CAP_USD = Decimal("0.01")
HELLO = [{"role": "user", "content": "Hello"}]


class Server:
    def __init__(self, directory):
        self.directory = directory
        self.keys = directory / "keys.toml"
        self.add("first")

    def start(self):
        log = (self.directory / "log").open("w")
        command = [FARTHING, "--port", "0", "--keys", self.keys, "--ledger", self.ledger]
        # Small steps, so that one of them is far below the cap.
        command += ["--price-per-hour", PRICE_PER_HOUR, "--max-num-batched-tokens", "64"]
        command += ["--admin-key", ADMIN_KEY]
        self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(600):
            text = (self.directory / "log").read_text()
            found = re.search(r"address *(http://\S*/v1)", text)
            if found:
                self.url = found[1]
                return
            assert self.process.poll() is None, text
            time.sleep(0.2)
        raise AssertionError("the server did not start within two minutes")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0

    @property
    def ledger(self):
        return self.directory / "ledger.sqlite3"

    def command(self, *arguments):
        run = subprocess.run([FARTHING, *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    def add(self, name, *terms):
        return self.command("keys", "add", "--keys", self.keys, "--name", name, *terms)

    def client(self, key):
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=120)

    def rows(self, key):
        out = self.command(
            "ledger", "export", "--ledger", self.ledger, "--format", "csv", "--out", "-"
        )
        return [row for row in csv.DictReader(io.StringIO(out)) if row["api_key"] == key]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("keys"))
    server.start()
    yield server
    server.process.kill()
    server.process.wait()


def soon(check):
    """Calls until it returns true: a running server looks at the key file every second."""
    for _ in range(100):
        if check():
            return
        time.sleep(0.1)
    raise AssertionError("the server does not use the changed key file")


def is_accepted(server, key):
    try:
        server.client(key).models.list()
    except openai.AuthenticationError:
        return False
    return True


def ask(client, **terms):
    return client.chat.completions.create(
        **{"model": MODEL, "messages": HELLO, "max_tokens": 4, "temperature": 0, **terms}
    )


def test_keys_come_and_go_without_a_restart(server):
    assert not is_accepted(server, "sk-fth-000000000000-0")
    key = server.add("guest", "--tenant", "acme")
    soon(lambda: is_accepted(server, key))
    answer = server.client(key).chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=4, user="somebody else"
    )
    assert answer.headers["x-request-id"] == answer.parse().id
    server.command("keys", "revoke", "--keys", server.keys, "guest")
    soon(lambda: not is_accepted(server, key))


def test_a_key_is_kept_to_its_models_and_to_the_routes_of_callers(server):
    key = server.add("narrow", "--no-adapters")
    soon(lambda: is_accepted(server, key))
    client = server.client(key)
    assert [card.id for card in client.models.list()] == [MODEL]
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(client, model="payment-json")
    assert refused.value.code == "model_not_found"
    for route in ["/costs/now", "/organization/costs?start_time=1", "/lora_adapters"]:
        with pytest.raises(openai.PermissionDeniedError):
            client.get(route, cast_to=object)
        server.client(ADMIN_KEY).get(route, cast_to=object)
    with pytest.raises(openai.PermissionDeniedError):
        ask(server.client(ADMIN_KEY))


def test_rates_are_told_and_kept(server):
    key = server.add("slow", "--requests-per-minute", "3", "--tokens-per-minute", "1000")
    soon(lambda: is_accepted(server, key))
    answer = server.client(key).chat.completions.with_raw_response.create(
        model=MODEL, messages=HELLO, max_tokens=4
    )
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    usage = answer.parse().usage
    left = int(answer.headers["x-ratelimit-remaining-tokens"])
    assert 1000 - usage.total_tokens <= left < 1000
    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(3):
            ask(server.client(key))
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 20


def test_a_dollar_cap_holds_against_fifty_streams(server):
    server.capped = server.add("capped", "--usd-per-day", str(CAP_USD))
    soon(lambda: is_accepted(server, server.capped))
    client = server.client(server.capped)

    def stream(number):
        try:
            messages = [{"role": "user", "content": f"Write a long story about {number} ships."}]
            for _ in ask(client, messages=messages, max_tokens=2000, stream=True,
                         extra_body={"ignore_eos": True}):
                # Some callers leave early: what they used counts too.
                if number % 10 == 0:
                    return "left"
        except openai.APIError as error:
            return error.code
        return "done"

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        ends = list(pool.map(stream, range(50)))
    assert ends.count("insufficient_quota") == 45, ends
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"

    def spent():
        rows = server.rows("capped")
        return sum(Decimal(row["cost_usd"]) for row in rows), len(rows)

    soon(lambda: spent()[1] == 50)
    usd, _ = spent()
    print(f"spent {usd} USD of {CAP_USD}")
    # A step of 64 tokens takes less than half a second, or 0.0005 USD.
    assert CAP_USD <= usd <= CAP_USD + Decimal("0.0005")


def test_a_restart_does_not_fill_a_budget_again(server):
    server.stop()
    server.start()
    with pytest.raises(openai.RateLimitError) as refused:
        ask(server.client(server.capped))
    assert refused.value.code == "insufficient_quota"
    # A higher cap lets the key go on, without another restart.
    text = server.keys.read_text()
    server.keys.write_text(text.replace(f'usd_per_day = "{CAP_USD}"', 'usd_per_day = "1"'))

    def is_answered():
        try:
            return ask(server.client(server.capped)) is not None
        except openai.RateLimitError:
            return False

    soon(is_answered)
