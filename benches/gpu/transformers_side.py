"""Measures transformers' continuous batching with random weights, on the shapes of Farthing's measurements.

    python benches/gpu/transformers_side.py --json FILE [--load IN/OUT/1,8,64,256]...

Needs torch, transformers 5 and a GPU. Weights are bf16. Answers are greedy and always have their full
length.
"""

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, MistralConfig

import peer


def main() -> None:
    a = peer.flags(__doc__)
    with torch.device(a.device):
        config = MistralConfig(**a.shape)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()

    def generate(prompts: list[list[int]], tokens_out: int) -> list[int]:
        # No token has this id, so every answer has its full length.
        endless = GenerationConfig(
            do_sample=False, max_new_tokens=tokens_out, eos_token_id=-1, pad_token_id=0
        )
        answers = model.generate_batch(inputs=prompts, generation_config=endless)
        return [len(answer.generated_tokens) for answer in answers.values()]

    engine = f"transformers {transformers.__version__}, torch {torch.__version__}"
    peer.measure(a, engine, generate)


main()
