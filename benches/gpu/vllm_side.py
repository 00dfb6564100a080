"""Measures vLLM with random weights, on the shapes of Farthing's measurements.

    python benches/gpu/vllm_side.py --json FILE [--load IN/OUT/1,8,64,256]...

Needs vllm 0.25 and a GPU. Weights are bf16. Answers are greedy and always have their full length. The
prefix cache is off. vLLM takes one to three minutes to start, so one start serves all loads.
"""

import json
import pathlib
import tempfile

import vllm

import peer


def main() -> None:
    a = peer.flags(__doc__)
    config = a.shape | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "config.json").write_text(json.dumps(config))
        engine = vllm.LLM(
            model=directory,
            load_format="dummy",
            skip_tokenizer_init=True,
            dtype="bfloat16",
            max_model_len=max(tokens_in + tokens_out for tokens_in, tokens_out, _ in a.loads) + 16,
            max_num_seqs=max(max(sequences) for *_, sequences in a.loads),
            enable_prefix_caching=False,
        )

    def generate(prompts: list[list[int]], tokens_out: int) -> list[int]:
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        endless = vllm.SamplingParams(
            temperature=0, max_tokens=tokens_out, ignore_eos=True, detokenize=False
        )
        answers = engine.generate(asked, endless, use_tqdm=False)
        return [len(answer.outputs[0].token_ids) for answer in answers]

    peer.measure(a, f"vLLM {vllm.__version__}", generate)


if __name__ == "__main__":
    # vLLM's workers import this file.
    main()
