"""Splits the release binary into parts of at most 46 MiB, for a machine that has only Python and CUDA.

    eval "$(.ci/cuda-toolkit)" && cargo build --release --features cuda
    python benches/gpu/pack.py [--out target/gpu-parts]

The binary is stripped and compressed; scripts and adapters are in the tree. On the other machine,
`benches/gpu/run.py --parts target/gpu-parts` joins the parts.
"""

import argparse
import lzma
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import BINARY

PART_BYTES = 46 << 20
# The file beside the parts that names the binary's commit.
COMMIT = "COMMIT"


def pack(out: pathlib.Path) -> list[pathlib.Path]:
    """Writes the parts to a folder, which must be empty or must not exist."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        sys.exit(f"{out} is not empty: remove it, or name another folder")
    with tempfile.TemporaryDirectory() as scratch:
        stripped = pathlib.Path(scratch) / "farthing"
        subprocess.run(["strip", "-o", stripped, BINARY], check=True)
        packed = lzma.compress(stripped.read_bytes(), preset=6)
    starts = range(0, len(packed), PART_BYTES)
    for number, start in enumerate(starts):
        part = out / f"farthing.xz.{number:02}"
        part.write_bytes(packed[start : start + PART_BYTES])
    (out / COMMIT).write_text(machine.commit())
    return sorted(out.iterdir())


def unpack(parts: pathlib.Path) -> None:
    """Writes the binary to the path that cargo would use, and its commit if the tree has none."""
    packed = [part.read_bytes() for part in sorted(parts.glob("farthing.xz.*"))]
    if not packed:
        sys.exit(f"{parts} has no part of the binary: benches/gpu/pack.py makes them")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    BINARY.write_bytes(lzma.decompress(b"".join(packed)))
    BINARY.chmod(0o755)
    if not (machine.PROJECT / ".git").exists():
        shutil.copy(parts / COMMIT, machine.COMMIT)


if __name__ == "__main__":
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--out", type=pathlib.Path, default=machine.TARGET / "gpu-parts")
    for part in pack(args.parse_args().out):
        print(f"{part} {part.stat().st_size / (1 << 20):.1f} MiB")
