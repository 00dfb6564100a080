"""Checks the server with the official `openai` package. `run` starts the server."""

import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import re
import time
import urllib.parse
import urllib.request

import openai
import pytest

URL = os.environ["FARTHING_URL"]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client() -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


def metrics() -> dict[str, float]:
    """Returns the metrics that have no labels."""
    with urllib.request.urlopen(f"{URL}/metrics") as response:
        page = response.read().decode()
    found = re.findall(r"^([a-z_:]+)\{[^}]*\} (\S+)$", page, re.MULTILINE)
    return {name: float(value) for name, value in found}


def wait_until(reached) -> dict[str, float]:
    """Waits until `reached` accepts the metrics, and returns them."""
    deadline = time.monotonic() + 30
    while not reached(now := metrics()):
        assert time.monotonic() < deadline, f"still not there: {now}"
        time.sleep(0.02)
    return now


def wait_until_running(sequences: int) -> None:
    wait_until(lambda now: now["vllm:num_requests_running"] == sequences)


def wait_until_idle() -> dict[str, float]:
    return wait_until(
        lambda now: now["vllm:num_requests_running"] + now["vllm:num_requests_waiting"] == 0
    )


def assert_cost(usage) -> None:
    """Checks that seconds were measured, and that the dollars are seconds times price."""
    cost = usage.cost
    assert cost["device_seconds"] > 0
    assert cost["basis"]
    if "price_per_hour_usd" in cost:
        usd = cost["device_seconds"] * cost["price_per_hour_usd"] / 3600
        assert math.isclose(cost["usd"], usd, rel_tol=1e-6, abs_tol=1e-12)
    assert usage.prompt_tokens_details.cached_tokens >= 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_models(client, model):
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    [choice] = answer.choices
    assert "Paris" in choice.message.content
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert answer.model == model
    assert_cost(answer.usage)


def test_chat_stream_with_usage(client, model):
    whole = client.chat.completions.create(model=model, messages=QUESTION, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=QUESTION,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *pieces, last = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content
    assert len(pieces) > 4
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert all(piece.usage is None for piece in pieces)
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert_cost(last.usage)


def test_completion(client, model):
    answer = client.completions.create(
        model=model, prompt="The capital of France is", max_tokens=4, temperature=0
    )
    assert "Paris" in answer.choices[0].text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 4
    assert_cost(answer.usage)


def test_completion_prompts_in_every_shape(client, model):
    def texts(prompt):
        answer = client.completions.create(model=model, prompt=prompt, max_tokens=5, temperature=0)
        return [choice.text for choice in answer.choices]

    [one] = texts("One, two, three,")
    [other] = texts("Monday, Tuesday,")
    assert texts(["One, two, three,", "Monday, Tuesday,"]) == [one, other]
    ids = [28, 29, 30, 31]
    [from_ids] = texts(ids)
    assert texts([ids, ids]) == [from_ids, from_ids]


def test_completion_stream(client, model):
    ask = {"model": model, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**ask).choices[0].text
    chunks = client.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole


def test_chat_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, temperature=0, logprobs=True, top_logprobs=3
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    text = answer.choices[0].message.content.encode()
    assert b"".join(bytes(token.bytes) for token in tokens).startswith(text)
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        # The answer is greedy: the sampled token is the most likely one.
        assert token.top_logprobs[0].token == token.token
        falling = [top.logprob for top in token.top_logprobs]
        assert falling == sorted(falling, reverse=True)
        assert sum(math.exp(top) for top in falling) <= 1.0001


def test_completion_echo_scores_the_prompt(client, model):
    prompt = "The capital of France is Paris"
    answer = client.completions.create(
        model=model, prompt=prompt, max_tokens=0, echo=True, logprobs=2
    )
    [choice] = answer.choices
    told = choice.logprobs
    assert choice.text == prompt
    assert answer.usage.completion_tokens == 0
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    assert all(logprob <= 0 for logprob in told.token_logprobs[1:])
    assert len(told.tokens) == len(told.text_offset) == answer.usage.prompt_tokens
    for token, offset in zip(told.tokens, told.text_offset):
        assert prompt[offset:].startswith(token)


def test_n(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, n=2, seed=7, temperature=1.5, max_tokens=24
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    first, second = (choice.message.content for choice in answer.choices)
    assert first != second
    one = client.chat.completions.create(
        model=model, messages=QUESTION, seed=7, temperature=1.5, max_tokens=24
    )
    assert one.choices[0].message.content == first
    assert one.usage.prompt_tokens == answer.usage.prompt_tokens


def test_stop(client, model):
    ask = {"model": model, "prompt": "One, two, three, four,", "temperature": 0, "max_tokens": 24}
    whole = client.completions.create(**ask).choices[0].text
    stop = whole[6:9]
    stopped = client.completions.create(**ask, stop=[stop]).choices[0]
    assert stopped.text == whole[: whole.index(stop)]
    assert stopped.finish_reason == "stop"


def test_seed_is_the_same_alone_and_in_company(client, model):
    def answer(seed):
        reply = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Tell me a short story."}],
            seed=seed,
            max_tokens=32,
        )
        return reply.choices[0].message.content

    alone = answer(11)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        company = [pool.submit(answer, seed) for seed in range(20, 31)]
        assert pool.submit(answer, 11).result() == alone
        others = {future.result() for future in company}
    assert alone not in others and len(others) > 1


def test_penalties_end_a_repetition(client, model):
    ask = {"model": model, "prompt": "ha ha ha ha ha ha ha ha", "temperature": 0, "max_tokens": 24}

    def distinct_words(**penalties):
        return len(set(client.completions.create(**ask, **penalties).choices[0].text.split()))

    plain = distinct_words()
    assert distinct_words(frequency_penalty=2) > plain
    assert distinct_words(presence_penalty=2) > plain
    assert distinct_words(extra_body={"repetition_penalty": 1.5}) > plain


def test_logit_bias_forces_a_token(client, model):
    answer = client.completions.create(
        model=model, prompt="Once", max_tokens=6, logit_bias={"42": 100}, logprobs=0
    )
    assert len(set(answer.choices[0].logprobs.tokens)) == 1


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate"),
    ],
)
def test_an_invalid_parameter_is_named(client, model, extra, param):
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model=model, messages=QUESTION, **extra)
    assert refusal.value.param == param
    assert refusal.value.type == "invalid_request_error"


def test_too_long_a_prompt_has_openais_code(client, model):
    with pytest.raises(openai.BadRequestError) as refusal:
        client.completions.create(model=model, prompt=[5] * 200_000)
    assert refusal.value.code == "context_length_exceeded"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert refusal.value.code == "model_not_found"


def test_leaving_a_stream_frees_its_place(client, model):
    before = wait_until_idle()
    stream = client.completions.create(
        model=model, prompt="Once", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
    )
    next(stream)
    wait_until_running(1)
    stream.close()
    after = wait_until_idle()
    assert after["farthing_free_blocks"] == before["farthing_free_blocks"]
    assert after["farthing_aborted_seconds_total"] > before["farthing_aborted_seconds_total"]


def test_leaving_a_whole_answer_frees_its_place(model):
    before = wait_until_idle()
    address = urllib.parse.urlsplit(URL).netloc
    with contextlib.closing(http.client.HTTPConnection(address)) as connection:
        body = {"model": model, "prompt": "Once", "max_tokens": 4000, "ignore_eos": True, "n": 2}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        wait_until_running(2)
    after = wait_until_idle()
    assert after["farthing_free_blocks"] == before["farthing_free_blocks"]
    assert after["farthing_aborted_seconds_total"] > before["farthing_aborted_seconds_total"]


def test_seconds_add_up():
    now = wait_until_idle()
    step, attributed = now["farthing_step_seconds_total"], now["farthing_attributed_seconds_total"]
    assert step > 0
    assert math.isclose(step, attributed, rel_tol=1e-9)
