"""Everything that a machine with a GPU needs for `benches/gpu/run.py`, in parts of at most 60 MB.

    eval "$(.ci/cuda-toolkit)" && cargo build --release --features cuda
    python benches/gpu/pack.py --out DIR

Takes the release binary (stripped), the scripts, and the demo model with its adapters out of
Farthing's cache. There: `cat DIR/part.* | tar -xz && python3 benches/gpu/run.py`.
"""

import argparse
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import machine
from farthing_server import BINARY

PART_BYTES = 60_000_000
SCRIPTS = ["benches/*.py", "benches/gpu/*.py", "benches/adapters/*.py", "models/adapters/*.py"]


class Parts(io.RawIOBase):
    """A file that goes on in another one after so many bytes."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.file = None
        self.count = 0
        self.left = 0

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        data = memoryview(data)
        written = 0
        while written < len(data):
            if self.left == 0:
                self.next()
            taken = data[written : written + self.left]
            self.file.write(taken)
            self.left -= len(taken)
            written += len(taken)
        return written

    def next(self) -> None:
        self.close_part()
        self.file = (self.folder / f"part.{self.count:02}").open("wb")
        self.count += 1
        self.left = PART_BYTES

    def close_part(self) -> None:
        if self.file:
            self.file.close()


def main() -> None:
    args = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    args.add_argument("--out", type=pathlib.Path, required=True)
    a = args.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if any(a.out.iterdir()):
        sys.exit(f"{a.out} is not empty")
    demo = machine.cached_demo().parent
    parts = Parts(a.out)
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(fileobj=parts, mode="w|gz") as tar:
        stripped = pathlib.Path(scratch) / "farthing"
        subprocess.run(["strip", "-o", stripped, BINARY], check=True)
        tar.add(stripped, "target/release/farthing")
        for pattern in SCRIPTS:
            for script in sorted(machine.PROJECT.glob(pattern)):
                tar.add(script, script.relative_to(machine.PROJECT))
        for folder in [demo, *sorted(demo.parent.glob("adapter-*"))]:
            tar.add(folder, f"cache/{folder.name}")
        commit = pathlib.Path(scratch) / "COMMIT"
        commit.write_text(machine.commit())
        tar.add(commit, machine.COMMIT.name)
    parts.close_part()
    for part in sorted(a.out.iterdir()):
        print(f"{part} {part.stat().st_size / 1e6:.1f} MB")


main()
