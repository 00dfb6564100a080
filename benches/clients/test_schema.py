"""Sends whatever `openapi.yaml` allows and forbids, and mutated bytes, to every route: no request may end with
a status of 500 or more, and each must be answered within two minutes. `run` starts the server."""

import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest

URL = os.environ["FARTHING_URL"]
HERE = pathlib.Path(__file__).parent
DOCUMENT = HERE / "openapi.yaml"
ROUTES = HERE / "../../crates/server/src/http/routes.rs"
PATIENCE_S = 120


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The document with the name of the served model, so that some requests reach it."""
    with urllib.request.urlopen(f"{URL}/v1/models") as response:
        model = json.load(response)["data"][0]["id"]
    path = tmp_path_factory.mktemp("schema") / "openapi.yaml"
    path.write_text(DOCUMENT.read_text().replace("const: MODEL", f"const: {json.dumps(model)}"))
    return path


def test_the_document_has_every_route() -> None:
    served = set(re.findall(r'"(/[^"]*)",?\s*(?:get|post)\(', ROUTES.read_text()))
    served = {path.replace("{*", "{") for path in served}
    described = set(re.findall(r"^  (/\S*):$", DOCUMENT.read_text(), re.MULTILINE))
    assert described == served


def test_no_request_of_the_schema_fails_the_server(document: pathlib.Path) -> None:
    schemathesis = pathlib.Path(sys.executable).parent / "schemathesis"
    command = [
        schemathesis, "run", document, "--url", URL, "--checks", "not_a_server_error", "--seed", "1",
        "--phases", "fuzzing", "--max-examples", "40", "--max-time", "100", "--workers", "2", "--suppress-health-check", "all",
        "--request-timeout", str(PATIENCE_S), "--generation-database", "none", "--warnings", "off", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def mutated(rng: random.Random, body: bytes) -> bytes:
    body = bytearray(body)
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(body) + 1)
        match rng.randrange(5):
            case 0:
                body[at:at] = bytes([rng.randrange(256)])
            case 1:
                del body[at : at + rng.randint(1, 8)]
            case 2:
                body[at:at] = rng.choice([b'"', b"{", b"[" * 300, b"\\ud800", b"\0", b"1e999", b"-", b"null", b"\xff"])
            case 3:
                body[at : at + 1] = bytes([rng.randrange(256)])
            case 4:
                body[at:at] = body[at : at + rng.randint(1, 40)]
    return bytes(body)


def test_no_bytes_fail_the_server(document: pathlib.Path) -> None:
    model = re.search(r'const: "(.*)"', document.read_text()).group(1)
    chat = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "stop": ["a"], "n": 2}
    completion = {"model": model, "prompt": ["a", "b"], "max_tokens": 2, "logprobs": 1, "echo": True}
    adapter = {"lora_name": "a", "lora_path": "b", "load_inplace": True}
    seeds = [
        ("/v1/chat/completions", chat),
        ("/v1/completions", completion),
        ("/v1/load_lora_adapter", adapter),
        ("/v1/unload_lora_adapter", {"lora_name": "a"}),
        ("/tokenize", {"model": model, "messages": chat["messages"], "return_token_strs": True}),
        ("/detokenize", {"tokens": [1, 2, 3]}),
        ("/v1/feedback", {"request_id": "chatcmpl-0", "metric": "accepted", "value": True}),
        ("/v1/experiments/a/votes", {"request_id": "chatcmpl-0", "choice": "left"}),
    ]
    rng = random.Random(1)
    host = urllib.parse.urlsplit(URL).netloc
    statuses: dict[int, int] = {}
    for number in range(400):
        path, seed = rng.choice(seeds)
        body = mutated(rng, json.dumps(seed).encode())
        connection = http.client.HTTPConnection(host, timeout=PATIENCE_S)
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        assert response.status < 500, (number, path, body, answer)
        statuses[response.status] = statuses.get(response.status, 0) + 1
    # Some mutations change nothing that matters, and most are refused.
    assert statuses.get(200, 0) > 0 and statuses.get(400, 0) > 0, statuses
