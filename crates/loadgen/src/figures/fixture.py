"""Scripted answers and what numpy makes of them by the definitions of vLLM's bench.

    python crates/loadgen/src/figures/fixture.py > crates/loadgen/src/figures/fixture.json
"""

import json

import numpy

WARM_UP = 4
PERCENTILES = [50, 95, 99]
SLO_MS = {"ttft": 400, "tpot": 60}

random = numpy.random.default_rng(5)
answers = []
sent_at = 0.0
for number in range(60):
    sent_at += random.exponential(0.4)
    pieces = int(random.integers(1, 30))
    text_at = sent_at + random.gamma(4, 0.08) + numpy.concatenate(
        [[0.0], numpy.cumsum(random.gamma(3, 0.015, pieces - 1))]
    )
    answers.append(
        {
            "sent_at": sent_at,
            "text_at": text_at.tolist(),
            "ended_at": float(text_at[-1] + 0.001),
            "prompt_tokens": int(random.integers(10, 200)),
            # Some pieces hold two tokens.
            "completion_tokens": pieces + int(random.integers(0, 3)),
        }
    )

measured = answers[WARM_UP:]
begin, end = measured[0]["sent_at"], measured[-1]["sent_at"]
duration = end - begin


def inside(at):
    return begin <= at <= end


ttft = [a["text_at"][0] - a["sent_at"] for a in measured]
tpot = [
    (a["ended_at"] - a["text_at"][0]) / (a["completion_tokens"] - 1)
    for a in measured
    if a["completion_tokens"] > 1
]
itl = [gap for a in measured for gap in numpy.diff(a["text_at"]).tolist()]
e2el = [a["ended_at"] - a["sent_at"] for a in measured]
good = sum(
    a["text_at"][0] - a["sent_at"] <= SLO_MS["ttft"] / 1000
    and (a["ended_at"] - a["text_at"][0]) / max(a["completion_tokens"] - 1, 1)
    * (a["completion_tokens"] > 1)
    <= SLO_MS["tpot"] / 1000
    for a in answers
    if inside(a["ended_at"])
)
output = sum(
    a["completion_tokens"] / len(a["text_at"]) * sum(inside(at) for at in a["text_at"])
    for a in answers
)
inputs = sum(a["prompt_tokens"] for a in answers if inside(a["text_at"][0]))
expected = {
    "duration": duration,
    "completed": len(measured),
    "failed": 0,
    "completed_in_window": sum(inside(a["ended_at"]) for a in answers),
    "total_input_tokens": inputs,
    "total_output_tokens": output,
    "request_throughput": sum(inside(a["ended_at"]) for a in answers) / duration,
    "request_goodput": good / duration,
    "output_throughput": output / duration,
    "total_token_throughput": (inputs + output) / duration,
    "max_concurrent_requests": max(
        sum(a["sent_at"] <= b["sent_at"] < a["ended_at"] for a in answers) for b in answers
    ),
}
for name, seconds in [("ttft", ttft), ("tpot", tpot), ("itl", itl), ("e2el", e2el)]:
    milliseconds = numpy.array(seconds) * 1000
    expected[f"mean_{name}_ms"] = milliseconds.mean()
    expected[f"median_{name}_ms"] = numpy.median(milliseconds)
    expected[f"std_{name}_ms"] = numpy.std(milliseconds)
    for percentile in PERCENTILES:
        expected[f"p{percentile}_{name}_ms"] = numpy.percentile(milliseconds, percentile)

print(json.dumps({"answers": answers, "expected": expected}, indent=1))
