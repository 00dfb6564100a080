"""The common part of all peers' measurements: the flags, the shape, the loads and the results file."""

import argparse
import json
import pathlib
import random
import time
from collections.abc import Callable

# Mistral-7B-v0.3's
SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32768,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "sliding_window": None,
}


class Flags(argparse.Namespace):
    json: pathlib.Path
    loads: list[tuple[int, int, list[int]]]  # prompt tokens, output tokens, concurrent sequences
    shape: dict
    device: str


def flags(doc: str) -> Flags:
    args = argparse.ArgumentParser(description=doc.splitlines()[0])
    args.add_argument("--json", type=pathlib.Path, required=True)
    args.add_argument("--load", action="append", metavar="IN/OUT/SEQUENCES,...")
    args.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    args.add_argument("--device", default="cuda")
    a = args.parse_args(namespace=Flags())
    a.loads = [load_of(text) for text in a.load or ["512/512/1,8,64,256"]]
    a.shape = SHAPE | {"num_hidden_layers": a.layers}
    return a


def load_of(text: str) -> tuple[int, int, list[int]]:
    tokens_in, tokens_out, sequences = text.split("/")
    return int(tokens_in), int(tokens_out), [int(count) for count in sequences.split(",")]


def measure(
    a: Flags, engine: str, generate: Callable[[list[list[int]], int], list[int]]
) -> None:
    """Times `generate(prompts, tokens_out)`, which returns the answers' lengths, from the first prompt
    to the last token. The time includes the set-up of the batch. Prompts are random token ids without a
    common prefix. The first run of a load is a warm-up. The file is rewritten after each row, so that
    no finished measurement is lost."""
    report = {"engine": engine, "model": "Mistral-7B-v0.3's shape, random weights", "rows": []}
    for tokens_in, tokens_out, counts in a.loads:
        for sequences in counts:
            timed(generate, sequences, tokens_in, 8)
            seconds = timed(generate, sequences, tokens_in, tokens_out)
            row = {
                "input_tokens": tokens_in,
                "output_tokens": tokens_out,
                "sequences": sequences,
                "seconds": seconds,
                "output_tokens_per_second": sequences * tokens_out / seconds,
            }
            print(json.dumps(row), flush=True)
            report["rows"].append(row)
            a.json.write_text(json.dumps(report, indent=1) + "\n")


def timed(generate, sequences: int, tokens_in: int, tokens_out: int) -> float:
    dice = random.Random(f"{sequences} {tokens_out}")
    prompts = [dice.choices(range(10, 32000), k=tokens_in) for _ in range(sequences)]
    started = time.perf_counter()
    lengths = generate(prompts, tokens_out)
    seconds = time.perf_counter() - started
    if lengths != [tokens_out] * sequences:
        raise RuntimeError(f"answers of {lengths} tokens")
    return seconds
