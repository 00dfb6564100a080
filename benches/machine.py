"""Describes the machine and the commit of a result, and writes results."""

import datetime
import json
import os
import pathlib
import subprocess
import sys

BENCHES = pathlib.Path(__file__).resolve().parent
PROJECT = BENCHES.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
TELLING_FLAGS = {"avx2", "fma", "f16c", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16"}
# Without a repository, this file names the commit: `gpu/pack.py` writes it.
COMMIT = PROJECT / "COMMIT"
DEMO_BYTES = 98_362_432


def describe(command: str, note: str) -> dict:
    """Returns date, command, commit and processor; `note` describes other conditions of the run."""
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    flags = set(cpu.split("flags", 1)[1].split("\n", 1)[0].split())
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": commit(),
        "note": note,
        "cpu": cpu.split("model name", 1)[1].split(":", 1)[1].split("\n", 1)[0].strip(),
        "cores": os.cpu_count(),
        "cpu_flags": sorted(flags & TELLING_FLAGS),
    }


def commit() -> str:
    if COMMIT.exists():
        return COMMIT.read_text()

    def git(*args: str) -> str:
        command = ["git", "-C", str(PROJECT), *args]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "-s") else "")


def heading(title: str, report: dict) -> list[str]:
    note = f" ({report['note']})" if report["note"] else ""
    return [
        f"# {title}, {report['date'][:10]}",
        "",
        f"`{report['command']}` at commit {report['commit']}{note},",
        f"on {report['cores']} cores of {report['cpu']} ({', '.join(report['cpu_flags'])}).",
        "",
    ]


def keep(name: str, report: dict, text: str, path: pathlib.Path | None = None) -> None:
    """Prints the text, and writes the text and the report to `path`.{md,json}. The default path is
    results/<date>-<name>."""
    print(text)
    path = path or BENCHES / "results" / f"{report['date'][:10]}-{name}"
    path.parent.mkdir(exist_ok=True)
    pathlib.Path(f"{path}.json").write_text(json.dumps(report, indent=1) + "\n")
    pathlib.Path(f"{path}.md").write_text(text + "\n")


def cached_demo() -> pathlib.Path:
    """Returns the path of the demo's GGUF file in Farthing's cache."""
    caches = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    cache = pathlib.Path(os.environ.get("FARTHING_CACHE") or caches / "farthing")
    for file in sorted(cache.rglob("*.gguf")):
        if file.stat().st_size == DEMO_BYTES:
            return file
    sys.exit(f"the demo model is not in {cache}: start `farthing` once, or name a GGUF file")
