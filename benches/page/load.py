"""Sends requests so that the page has data to show: adapters, tenants, cached prefixes, and clients that
disconnect."""

import concurrent.futures
import http.client
import json
import random
import threading

JSON = {"Content-Type": "application/json"}
MODELS = ["smollm2-135m-instruct", "payment-json", "address-lines"]
#: The last name would run as a script if the page inserted names as HTML.
TENANTS = ["acme", "globex", "initech", None, "<img src=x onerror=alert(1)>"]
QUESTIONS = [
    "What is the capital of France?",
    "Write this payment as JSON with amount, currency, date and counterparty.\n"
    "Your purchase at Juniper Roastery on 23 Mar 2026 came to €1,250.40.",
    "Name three rivers of Europe, and the seas that they flow into.",
]


class Load:
    """Runs clients that send one request after another, until the block ends."""

    def __init__(self, address: str, clients: int = 4):
        self.address = address
        self.answers = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._ask_on, seed) for seed in range(clients)]

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_) -> None:
        self._is_over.set()
        self._pool.shutdown()

    def _ask_on(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._is_over.is_set():
            try:
                self._ask(chance)
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                self.failures.append(str(error))
            self._is_over.wait(chance.expovariate(2))

    def _ask(self, chance: random.Random) -> None:
        leaves = chance.random() < 0.1
        body = {
            "model": chance.choice(MODELS),
            "messages": [{"role": "user", "content": chance.choice(QUESTIONS)}],
            "max_tokens": chance.randint(8, 40),
            "stream": leaves,
        }
        if tenant := chance.choice(TENANTS):
            body["user"] = tenant
        connection = http.client.HTTPConnection(self.address, timeout=120)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), JSON)
        response = connection.getresponse()
        if leaves:
            response.read(64)
            connection.close()
            return
        answer = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer!r}")
        with self._lock:
            self.answers += 1
