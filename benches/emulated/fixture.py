"""Writes a small Llama with random weights, adapters for it, and every file that a server reads.

The heads have 64 dimensions, and two query heads share a key head: the GPU kernels support this shape.
The weights are chosen so that attention concentrates on few tokens and logits are far apart. An answer
therefore depends on every part of the model, and seldom on the last bit of a sum.
"""

import array
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import safetensors_file
from random_adapter import Shape, write_adapter

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 64
HIDDEN, KV = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
SHAPE = Shape(hidden=HIDDEN, kv=KV, mlp=512, layers=3)
BOS, EOS = "<s>", "</s>"
WORDS = 62
VOCAB = 256 + 2 + WORDS
CONTEXT = 512
NOISE = 1 << 20
# Standard deviations of the weights. Each linear layer has HIDDEN inputs of about 1.
SIZES = {
    "embed_tokens": 1.0,
    "q_proj": 0.09,
    "k_proj": 0.09,
    "v_proj": 0.0625,
    "o_proj": 0.09,
    "gate_proj": 0.0625,
    "up_proj": 0.0625,
    "down_proj": 0.09,
    "lm_head": 0.5,
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n"
    "{% endfor %}assistant:"
)
# Rank and seed of each adapter; all have weights of the same size.
ADAPTERS = {"red": (4, 1), "green": (8, 2), "blue": (16, 3), "swapped": (8, 4)}
ADAPTER_SIZE = 0.06


def write_model(directory: pathlib.Path) -> pathlib.Path:
    directory.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": SHAPE.mlp,
        "num_hidden_layers": SHAPE.layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "bos_token_id": 256,
        "eos_token_id": 257,
    }
    (directory / "config.json").write_text(json.dumps(config))
    safetensors_file.write(directory / "model.safetensors", weights())
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer()))
    texts = {"bos_token": BOS, "eos_token": EOS, "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(texts))
    return directory


def write_adapters(directory: pathlib.Path) -> dict[str, pathlib.Path]:
    return {
        name: write_adapter(directory / name, rank, seed, ADAPTER_SIZE, shape=SHAPE)
        for name, (rank, seed) in ADAPTERS.items()
    }


def weights() -> dict[str, tuple[list[int], array.array]]:
    chooser = random.Random(0)
    noise = [chooser.gauss(0.0, 1.0) for _ in range(NOISE)]

    def matrix(name: str, rows: int, columns: int) -> tuple[list[int], array.array]:
        start, size = chooser.randrange(NOISE - rows * columns), SIZES[name]
        numbers = (size * number for number in noise[start : start + rows * columns])
        return [rows, columns], array.array("f", numbers)

    ones = ([HIDDEN], array.array("f", [1.0] * HIDDEN))
    tensors = {"model.embed_tokens.weight": matrix("embed_tokens", VOCAB, HIDDEN)}
    for layer in range(SHAPE.layers):
        prefix = f"model.layers.{layer}"
        tensors[f"{prefix}.input_layernorm.weight"] = ones
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ones
        for block, name, (inputs, outputs) in SHAPE.targets():
            tensors[f"{prefix}.{block}.{name}.weight"] = matrix(name, outputs, inputs)
    tensors["model.norm.weight"] = ones
    shape, numbers = matrix("lm_head", VOCAB, HIDDEN)
    # Special tokens have no text, so they must never be the most likely ones.
    numbers[256 * HIDDEN : 258 * HIDDEN] = array.array("f", [0.0] * (2 * HIDDEN))
    tensors["lm_head.weight"] = (shape, numbers)
    return tensors


def chat_tokens(text: str) -> list[int]:
    """Returns the prompt's tokens of a chat with one message."""
    return [256, *f"user: {text}\nassistant:".encode()]


def token_of(text: bytes) -> int:
    """Returns the token whose text is `text`."""
    return text[0] if len(text) == 1 else 258 + int(text.removeprefix(b" word"))


def tokenizer() -> dict:
    """Returns a byte-level BPE tokenizer without merges. It has a token for each byte, two special
    tokens, and tokens of whole words for the answers."""
    special = [(256, BOS), (257, EOS)]
    words = [(258 + i, f"\u0120word{i}") for i in range(WORDS)]
    vocab = {character: byte for byte, character in byte_alphabet().items()}
    vocab |= {text: token for token, text in special + words}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": token, "content": text, "special": True, **flags} for token, text in special
        ],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": False},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": False},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }


def byte_alphabet() -> dict[int, str]:
    """Returns the printable character that GPT-2 uses for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + i) for i, byte in enumerate(others)
    }
