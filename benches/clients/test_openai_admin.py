"""Checks OpenAI's admin API for usage and costs with the official client."""

import os
import time
import uuid

import openai
import pytest

URL = os.environ["FARTHING_URL"] + "/v1"
KEY = os.environ.get("FARTHING_ADMIN_KEY", "none")


@pytest.fixture(scope="module")
def client():
    with openai.OpenAI(base_url=URL, api_key="none", admin_api_key=KEY) as client:
        yield client


@pytest.fixture(scope="module")
def asked(client):
    """Returns a unique user, and the usage of each of this user's two answers."""
    user = f"user-{uuid.uuid4()}"
    model = client.models.list().data[0].id
    usages = []
    for _ in range(2):
        answer = client.completions.create(
            model=model, prompt="The river runs", max_tokens=8, user=user
        )
        usages.append(answer.usage)
    # The ledger writes a row within one flush interval.
    deadline = time.monotonic() + 30
    while requests(client, user) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return model, user, usages


def usage(client, **query):
    return client.admin.organization.usage.completions(start_time=midnight(), **query)


def requests(client, user: str) -> int:
    page = usage(client, user_ids=[user])
    return sum(result.num_model_requests for bucket in page.data for result in bucket.results)


def midnight() -> int:
    # Yesterday's rows too: a test may run past midnight.
    return (int(time.time()) // 86400 - 1) * 86400


def test_usage_counts_what_answers_told(client, asked):
    model, user, usages = asked
    page = usage(client, user_ids=[user], group_by=["model", "user_id"], bucket_width="1d")
    assert page.object == "page" and not page.has_more and page.next_page is None
    [result] = [result for bucket in page.data for result in bucket.results]
    assert (result.model, result.user_id) == (model, user)
    assert result.num_model_requests == 2
    assert result.input_tokens == sum(u.prompt_tokens for u in usages)
    assert result.output_tokens == sum(u.completion_tokens for u in usages)
    cached = sum(u.prompt_tokens_details.cached_tokens for u in usages)
    assert result.input_cached_tokens == cached


def test_costs_are_what_answers_told(client, asked):
    _, user, usages = asked
    page = client.admin.organization.usage.costs(
        start_time=midnight(), group_by=["user_id", "line_item"]
    )
    results = [result for bucket in page.data for result in bucket.results]
    mine = sum(r.amount.value for r in results if r.user_id == user)
    told = sum(u.cost["usd"] for u in usages)
    assert mine == pytest.approx(told, rel=1e-6)
    assert {r.amount.currency for r in results} == {"usd"}
    assert any(r.line_item == "warm_up" and r.quantity > 0 for r in results)


def test_pages_lead_through_all_buckets(client):
    start = midnight()
    page = client.admin.organization.usage.completions(
        start_time=start, end_time=start + 7200, bucket_width="1m", limit=50
    )
    starts = [bucket.start_time for bucket in page.data]
    while page.has_more:
        page = client.admin.organization.usage.completions(
            start_time=start,
            end_time=start + 7200,
            bucket_width="1m",
            limit=50,
            page=page.next_page,
        )
        starts += [bucket.start_time for bucket in page.data]
    assert starts == list(range(start, start + 7200, 60))


def test_what_cannot_be_told_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as refusal:
        usage(client, group_by=["colour"])
    assert refusal.value.param == "group_by"
