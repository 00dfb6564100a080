"""transformers' continuous batching on random weights, for shapes that Farthing is measured on.

    python benches/gpu/transformers_side.py --json FILE [--load IN/OUT]... [--sequences 1,8,64,256]

Needs torch and transformers 5, and a GPU. Mistral-7B-v0.3's shape in bf16; prompts are random token
ids with no prefix in common, answers are greedy and go on to their full length. The first run of a
load is a warm-up. The file is written anew after each row, so that what was measured is kept.
"""

import argparse
import json
import pathlib
import random
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, MistralConfig

SHAPE = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32768,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
}


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--json", type=pathlib.Path, required=True)
    args.add_argument("--load", action="append", metavar="IN/OUT")
    args.add_argument("--sequences", default="1,8,64,256")
    args.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    args.add_argument("--device", default="cuda")
    a = args.parse_args()
    config = MistralConfig(**SHAPE | {"num_hidden_layers": a.layers})
    with torch.device(a.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    report = {
        "engine": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "model": "mistral-7b-v0.3, random weights",
        "rows": [],
    }
    for load in a.load or ["512/512"]:
        tokens_in, tokens_out = map(int, load.split("/"))
        for sequences in map(int, a.sequences.split(",")):
            generate(model, sequences, tokens_in, 8)
            seconds = generate(model, sequences, tokens_in, tokens_out)
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


def generate(model, sequences: int, tokens_in: int, tokens_out: int) -> float:
    """Seconds from the first prompt to the last token, the batch's own set-up included."""
    dice = random.Random(sequences)
    vocabulary = range(10, model.config.vocab_size)
    prompts = [dice.choices(vocabulary, k=tokens_in) for _ in range(sequences)]
    # No token has this id: every answer goes on to its full length.
    endless = GenerationConfig(
        do_sample=False, max_new_tokens=tokens_out, eos_token_id=-1, pad_token_id=0
    )
    started = time.perf_counter()
    with torch.inference_mode():
        answers = model.generate_batch(inputs=prompts, generation_config=endless)
    seconds = time.perf_counter() - started
    lengths = {len(answer.generated_tokens) for answer in answers.values()}
    if len(answers) != sequences or lengths != {tokens_out}:
        raise RuntimeError(f"{len(answers)} answers of {lengths} tokens")
    return seconds


main()
