"""Trains the demo's adapters on the CPU with PEFT.

    pip install torch==2.11.0 transformers==5.23.0 peft==0.21.2 gguf==0.19.0 safetensors==0.8.0
    python train.py payment-json --base demo.gguf
    python train.py address-lines --base demo.gguf

`demo.gguf` is the GGUF file of SmolLM2-135M-Instruct that Farthing's demo serves. The adapter's two
files are written to the directory of its name, weights in bf16. Everything is seeded. The loss is
that of the answer's tokens alone. At the end some held-out cases are answered greedily by the
trained model in f32; the score that counts is that of the served one:
`benches/adapters/score.py`.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import sys
import time

import peft
import torch
from safetensors.torch import load_file, save_file

import address_lines
import payment_json

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "crates/model/tests/fixtures/parity"))
from make_parity import load_gguf  # noqa: E402

ALL_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclasses.dataclass
class Recipe:
    task: object
    lora: dict
    steps: int
    learning_rate: float = 1e-3
    """The highest, after the warm-up; it falls to nothing at the end."""
    batch: int = 8
    warmup: int = 20


RECIPES = {
    "payment-json": Recipe(
        payment_json,
        {"r": 8, "lora_alpha": 16, "target_modules": ALL_LINEARS},
        steps=360,
    ),
    "address-lines": Recipe(
        address_lines,
        {
            "r": 16,
            "lora_alpha": 16,
            "use_rslora": True,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"],
        },
        steps=360,
    ),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("name", choices=RECIPES)
    arguments.add_argument("--base", type=pathlib.Path, required=True)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()

    recipe = RECIPES[arguments.name]
    torch.manual_seed(arguments.seed)
    # Gradients of unlikely tokens are denormal, which makes the head fifteen times slower.
    torch.set_flush_denormal(True)
    base, tokenizer = load_gguf(arguments.base)
    base.set_attn_implementation("sdpa")
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **recipe.lora))
    model.print_trainable_parameters()
    cases = recipe.task.cases("train", arguments.seed)
    train(model, tokenizer, cases, recipe)
    save(model, HERE / arguments.name)
    score(model, tokenizer, recipe.task, 30)


def train(model, tokenizer, cases, recipe: Recipe) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=recipe.steps,
        pct_start=recipe.warmup / recipe.steps,
    )
    model.train()
    started = time.monotonic()
    for step in range(recipe.steps):
        loss = answer_loss(model, tokenizer, itertools.islice(cases, recipe.batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds = time.monotonic() - started
        print(f"{step + 1}/{recipe.steps} loss {loss.item():.4f} {seconds:.0f} s")
        sys.stdout.flush()


def answer_loss(model, tokenizer, cases) -> torch.Tensor:
    """The mean cross-entropy of the answers' tokens, their end included.

    The cases are one sequence, without padding: what all prompts begin with stands once at its
    start, and a case sees that and itself: less to compute than a row for each case.
    """
    rows = [
        (prompt_ids(tokenizer, prompt), answer_ids(tokenizer, answer)) for prompt, answer in cases
    ]
    shared = len(os.path.commonprefix([prompt for prompt, _ in rows]))
    ids, positions, owners = rows[0][0][:shared], list(range(shared)), [-1] * shared
    targets = [-100] * shared
    for owner, (prompt, answer) in enumerate(rows):
        own = prompt[shared:] + answer
        ids += own
        positions += range(shared, shared + len(own))
        owners += [owner] * len(own)
        # The token at a position is predicted by the one before it.
        targets += [-100] * (len(prompt) - shared - 1) + answer + [-100]
    owners, targets = torch.tensor(owners), torch.tensor(targets)
    seen = ((owners[:, None] == owners) | (owners == -1)).tril()
    causal = model.get_base_model()
    hidden = causal.model(
        input_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        attention_mask=seen[None, None],
        use_cache=False,
    )[0][0]
    predicts = targets != -100
    logits = causal.lm_head(hidden[predicts])
    return torch.nn.functional.cross_entropy(logits, targets[predicts])


def prompt_ids(tokenizer, prompt: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer.encode(text, add_special_tokens=False)


def answer_ids(tokenizer, answer: str) -> list[int]:
    return [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]


def save(model, directory: pathlib.Path) -> None:
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    weights = load_file(directory / "adapter_model.safetensors")
    weights = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    save_file(weights, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = json.loads((directory / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    config["target_modules"].sort()
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def score(model, tokenizer, task, count: int) -> None:
    model.eval()
    right = 0
    for prompt, answer in itertools.islice(task.cases("held_out", 0), count):
        ids = prompt_ids(tokenizer, prompt)
        with torch.no_grad():
            output = model.generate(
                input_ids=torch.tensor([ids]), max_new_tokens=90, do_sample=False
            )
        told = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
        right += told == answer
        if told != answer:
            print(f"  {prompt.splitlines()[1]}\n    said {told!r}\n    want {answer!r}")
    print(f"{right} of {count} held-out cases exactly right")


if __name__ == "__main__":
    main()
