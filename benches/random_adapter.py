"""Writes LoRA adapters with random weights in PEFT's format."""

import array
import dataclasses
import json
import pathlib
import random

import safetensors_file

NOISE = 1 << 16


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of the base model: its widths, and the number of layers."""

    hidden: int
    kv: int
    mlp: int
    layers: int

    def targets(self) -> list[tuple[str, str, tuple[int, int]]]:
        """Returns block, name, inputs and outputs of each linear layer; queries have width `hidden`."""
        hidden, kv, mlp = self.hidden, self.kv, self.mlp
        return [
            ("self_attn", "q_proj", (hidden, hidden)),
            ("self_attn", "k_proj", (hidden, kv)),
            ("self_attn", "v_proj", (hidden, kv)),
            ("self_attn", "o_proj", (hidden, hidden)),
            ("mlp", "gate_proj", (hidden, mlp)),
            ("mlp", "up_proj", (hidden, mlp)),
            ("mlp", "down_proj", (mlp, hidden)),
        ]


DEMO = Shape(hidden=576, kv=192, mlp=1536, layers=30)


def write_adapter(
    directory: pathlib.Path,
    rank: int,
    seed: int = 0,
    size: float = 0.01,
    modules: frozenset[str] | None = None,
    shape: Shape = DEMO,
) -> pathlib.Path:
    """`size` is the weights' standard deviation; `modules` are the adapted modules [default: all]."""
    directory.mkdir(parents=True)
    chooser = random.Random(f"{seed} {rank}")
    noise = [chooser.gauss(0.0, size) for _ in range(NOISE)]
    targets = [it for it in shape.targets() if modules is None or it[1] in modules]
    tensors = {}
    for layer in range(shape.layers):
        for block, name, (inputs, outputs) in targets:
            for factor, dimensions in (("lora_A", [rank, inputs]), ("lora_B", [outputs, rank])):
                count = dimensions[0] * dimensions[1]
                start = chooser.randrange(NOISE - count)
                key = f"base_model.model.model.layers.{layer}.{block}.{name}.{factor}.weight"
                tensors[key] = (dimensions, array.array("f", noise[start : start + count]))
    safetensors_file.write(directory / "adapter_model.safetensors", tensors)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "bias": "none",
        "target_modules": sorted({target[1] for target in targets}),
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory
