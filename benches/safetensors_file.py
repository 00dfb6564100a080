"""Writes safetensors files of f32 numbers."""

import array
import json
import pathlib
import struct


def write(path: pathlib.Path, tensors: dict[str, tuple[list[int], array.array]]) -> None:
    """`tensors` has the shape of each tensor, and its numbers row by row as `array.array("f")`."""
    header, offset = {}, 0
    for name, (shape, numbers) in tensors.items():
        end = offset + len(numbers) * numbers.itemsize
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header).encode()
    content = [struct.pack("<Q", len(head)), head]
    content += [numbers.tobytes() for _, numbers in tensors.values()]
    path.write_bytes(b"".join(content))
