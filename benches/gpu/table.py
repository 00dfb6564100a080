"""Formats the results of `run.py` as one readable page."""

import json
import pathlib


SELFTESTS = ["checks", "model", "steps", "rates", "llama"]


def of(out: pathlib.Path) -> str:
    """Returns the page for the results that a folder has so far."""
    parts = [about(out), outcomes(out)]
    for name in SELFTESTS:
        parts += selftest(out, name)
    parts += [*sanitizer(out, "memcheck"), *sanitizer(out, "racecheck"), *greedy(out), *scores(out)]
    if (path := out / "answers.txt").exists():
        parts += ["## A small model behind the endpoint, against the CPU", path.read_text().strip()]
    parts += [*serving(out), *peer(out, "transformers"), *peer(out, "vllm")]
    return "\n\n".join(parts) + "\n"


def short(out: pathlib.Path) -> str:
    """Returns the outcome of each step, and the most important figures."""
    parts = [about(out), outcomes(out)]
    for name in ["steps", "llama"]:
        if (report := read(out / f"{name}.json")) and report["steps"]:
            parts.append(step_tables(report["steps"])[1])
    parts += [*serving(out), *peer(out, "transformers")]
    return "\n\n".join(parts) + "\n"


def outcomes(out: pathlib.Path) -> str:
    rows = [
        [it["step"], it["outcome"], f"{it['seconds']:.1f}", it["why"] or ""]
        for it in (read(out / "outcomes.json") or {"outcomes": []})["outcomes"]
    ]
    return table(["step", "outcome", "seconds", "why"], rows)


def about(out: pathlib.Path) -> str:
    about = read(out / "about.json")
    heading = "A trial without a GPU" if about["gpu"] == "none" else "On a GPU"
    return (
        f"# {heading}, {about['date'][:10]}\n\n"
        f"`{about['command']}` at commit {about['commit']}, on {about['gpu']}; host: "
        f"{about['cores']} cores of {about['cpu']}; {about['usd_per_hour']} USD an hour."
    )


def selftest(out: pathlib.Path, name: str) -> list[str]:
    report = read(out / f"{name}.json")
    if report is None:
        return []
    parts = [f"## {name}: {report['device']}"]
    if checks := report["checks"]:
        failed = [f"{check['op']}: {check['failure']}" for check in checks if check["failure"]]
        cases = sum(check["cases"] for check in checks)
        parts.append("; ".join(failed) or f"All {cases} cases of {len(checks)} operations agree.")
    if model := report["model"]:
        parts += model_table(model)
    if limits := report["limits"]:
        parts.append(
            f"Limits: {limits['bytes_per_second'] / 1e9:.0f} GB/s, {limits['flops'] / 1e12:.1f} "
            f"TFLOP/s; a launch {1e6 * limits['launch_seconds']:.1f} µs, a kernel of a graph "
            f"{1e6 * limits['graph_kernel_seconds']:.1f} µs."
        )
    if rates := report["rates"]:
        rows = [
            [
                rate["op"],
                f"{1e6 * rate['seconds']:.1f}",
                f"{rate['bytes_per_second'] / 1e9:.0f}",
                f"{rate['flops'] / 1e12:.2f}",
                f"{rate['share']:.0%}",
            ]
            for rate in rates
        ]
        parts.append(table(["operation", "µs", "GB/s", "TFLOP/s", "of the limit"], rows))
    if steps := report["steps"]:
        parts += step_tables(steps)
    return parts


def model_table(model: list[dict]) -> list[str]:
    heading = ["type", "rows", "tokens", "other tokens", "mean drift", "p99 drift", "result"]
    rows = [
        [case["compute_type"], case["case"], case["tokens"], case["different_tokens"]]
        + [f"{case[drift]:.1e}" for drift in ("mean_drift", "p99_drift")]
        + [case["failure"] or "ok"]
        for case in model
    ]
    return ["A small model against its CPU twin:", table(heading, rows)]


def step_tables(steps: dict) -> list[str]:
    decode = [
        [step["rows"], step["context"], *times(step["seconds"], step["floor_seconds"])]
        for step in steps["decode"]
    ]
    prefill = [
        [step["tokens"], step["steps"], *times(step["seconds"], step["floor_seconds"])]
        for step in steps["prefill"]
    ]
    adapters = [
        [step["adapters"], step["rows"], step["context"], *times(step["seconds"])]
        + [f"{step['share_of_base']:.1%}"]
        for step in steps["adapters"]
    ]
    floored = ["device ms", "host ms", "floor ms", "floor / device"]
    return [
        f"Decode steps of {steps['shape']}, temperature {steps['temperature']}, top-p "
        f"{steps['top_p']}:",
        table(["rows", "context", *floored], decode),
        "Prompts:",
        table(["tokens", "steps", *floored], prefill),
        "Decode steps with adapters of rank 16 on every linear layer:",
        table(
            ["adapters", "rows", "context", "device ms", "host ms", "of the base's speed"],
            adapters,
        ),
    ]


def times(seconds: dict | None, floor: float | None = None) -> list[str]:
    if seconds is None:
        return ["does not fit", "", f"{1e3 * floor:.2f}", ""]
    device = seconds["device"] or seconds["host"]
    cells = [f"{1e3 * device:.2f}", f"{1e3 * seconds['host']:.2f}"]
    return cells if floor is None else [*cells, f"{1e3 * floor:.2f}", f"{floor / device:.0%}"]


def sanitizer(out: pathlib.Path, check: str) -> list[str]:
    path = out / f"{check}.txt"
    if not path.exists():
        return []
    told = [line for line in path.read_text().splitlines() if "SUMMARY" in line]
    return [f"## compute-sanitizer: {check}", "\n".join(f"- {line}" for line in told) or "no summary"]


def greedy(out: pathlib.Path) -> list[str]:
    report = read(out / "greedy.json")
    if report is None:
        return []
    rows = report["greedy"]
    lines = [
        f"{sum(row['passed'] for row in rows)} of {len(rows)} greedy answers are the CPU's, or differ "
        "first where its choice is not clear."
    ]
    lines += [
        f"- {row['model']}, {row['prompt']!r}: equal for {row['equal_tokens']} tokens, then another at "
        f"a gap of {row['gap']:.2f}"
        for row in rows
        if not row["passed"]
    ]
    return ["## Greedy answers", "\n".join(lines)]


def scores(out: pathlib.Path) -> list[str]:
    report = read(out / "scores.json")
    if report is None:
        return []
    rows = [
        [row["task"], row["model"], f"{row['right']} of {row['cases']}", f"{row['share']:.1%}"]
        for row in report["scores"]
    ]
    return ["## Held-out scores", table(["task", "model", "exactly right", "share"], rows)]


def serving(out: pathlib.Path) -> list[str]:
    """Returns the figures of `farthing bench`. The cost of a million output tokens includes the whole
    price of the time that they take."""
    usd_per_second = float(read(out / "about.json")["usd_per_hour"]) / 3600
    rows = []
    for path in sorted(out.glob("serving-*.json"), key=load_of):
        if (report := read(path)) is None:
            continue
        tokens_in, tokens_out, concurrency = load_of(path)
        per_second = report["output_throughput"]
        rows.append(
            [f"{tokens_in}/{tokens_out}", concurrency, f"{per_second:.0f}"]
            + [f"{report[name]:.1f}" for name in ("median_ttft_ms", "median_tpot_ms")]
            + [f"{usd_per_second * 1e6 / per_second:.3f}", report["failed"]]
        )
    heading = ["in/out", "concurrent", "output tokens/s", "TTFT ms", "TPOT ms"]
    heading += ["USD a million output tokens", "failed"]
    return ["## Served, by `farthing bench` (medians)", table(heading, rows)] if rows else []


def load_of(path: pathlib.Path) -> tuple[int, int, int]:
    tokens_in, tokens_out, concurrency = path.stem.split("-")[1:]
    return int(tokens_in), int(tokens_out), int(concurrency)


def peer(out: pathlib.Path, name: str) -> list[str]:
    report = read(out / f"{name}.json")
    if report is None:
        return []
    rows = [
        [f"{row['input_tokens']}/{row['output_tokens']}", row["sequences"]]
        + [f"{row['output_tokens_per_second']:.0f}"]
        for row in report["rows"]
    ]
    heading = f"## {report['engine']}: {report['model']}"
    return [heading, table(["in/out", "sequences", "output tokens/s"], rows)]


def table(heading: list[str], rows: list[list]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def read(path: pathlib.Path) -> dict | None:
    """Returns the content of a JSON file, or None if it is missing or empty."""
    return json.loads(path.read_text()) if path.exists() and path.stat().st_size else None
