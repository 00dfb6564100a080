"""LoRA adapters of random weights for the demo's shape, as PEFT saves them."""

import array
import json
import pathlib
import random
import struct

ATTENTION = {"q_proj": (576, 576), "k_proj": (576, 192), "v_proj": (576, 192), "o_proj": (576, 576)}
MLP = {"gate_proj": (576, 1536), "up_proj": (576, 1536), "down_proj": (1536, 576)}
LAYERS = 30
NOISE = 1 << 16


def write_adapter(
    directory: pathlib.Path,
    rank: int,
    seed: int = 0,
    size: float = 0.01,
    modules: frozenset[str] | None = None,
) -> pathlib.Path:
    """`size` is the weights' standard deviation; `modules` are those adapted, all by default."""
    directory.mkdir(parents=True)
    chooser = random.Random(f"{seed} {rank}")
    noise = [chooser.gauss(0.0, size) for _ in range(NOISE)]
    tensors, header, offset = [], {}, 0
    targets = [("self_attn", name, shape) for name, shape in ATTENTION.items()]
    targets += [("mlp", name, shape) for name, shape in MLP.items()]
    targets = [target for target in targets if modules is None or target[1] in modules]
    for layer in range(LAYERS):
        for block, name, (inputs, outputs) in targets:
            for factor, shape in (("lora_A", [rank, inputs]), ("lora_B", [outputs, rank])):
                count = shape[0] * shape[1]
                start = chooser.randrange(NOISE - count)
                data = array.array("f", noise[start : start + count]).tobytes()
                key = f"base_model.model.model.layers.{layer}.{block}.{name}.{factor}.weight"
                span = [offset, offset + len(data)]
                header[key] = {"dtype": "F32", "shape": shape, "data_offsets": span}
                tensors.append(data)
                offset += len(data)
    head = json.dumps(header).encode()
    content = struct.pack("<Q", len(head)) + head + b"".join(tensors)
    (directory / "adapter_model.safetensors").write_bytes(content)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "bias": "none",
        "target_modules": sorted({target[1] for target in targets}),
    }
    (directory / "adapter_config.json").write_text(json.dumps(config))
    return directory
