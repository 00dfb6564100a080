"""llama.cpp's side of the comparison: one load, one measurement, one line of JSON.

    python llama_cpp_side.py MODEL.gguf --sequences 8 [--context 128] [--new 48] [--threads 2]
    python llama_cpp_side.py MODEL.gguf --write-bf16 TARGET.gguf

The script uses the low-level API of the package llama-cpp-python, a thin ctypes layer over llama.h.
Only `llama_decode` is timed. Filling batches from Python is not timed, and no token is sampled, so
that the time contains nothing but llama.cpp's own work.
"""

import argparse
import json
import os
import sys
import time

import llama_cpp

UBATCH = 512
FTYPE_BF16 = 32  # LLAMA_FTYPE_MOSTLY_BF16 of llama.h


def requantize(source: str, target: str) -> None:
    """Writes `source` again with every matrix in bf16."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FTYPE_BF16
    params.allow_requantize = True
    status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), params)
    if status != 0:
        sys.exit(f"llama.cpp could not write {target} (status {status})")


class Context:
    """Makes a context for `sequences` sequences of `length` tokens, and an empty batch."""

    def __init__(self, model, sequences: int, length: int, threads: int):
        params = llama_cpp.llama_context_default_params()
        params.n_seq_max = sequences
        # The cache is divided evenly among the sequences, in pages of 256 cells.
        params.n_ctx = sequences * (-(-length // 256) * 256)
        params.n_batch = params.n_ubatch = UBATCH
        params.n_threads = params.n_threads_batch = threads
        self.raw = llama_cpp.llama_init_from_model(model, params)
        if not self.raw:
            sys.exit("llama.cpp could not make a context")
        self.batch = llama_cpp.llama_batch_init(UBATCH, 0, 1)

    def decode(self, entries) -> float:
        """Computes (token, position, sequence, wants logits) entries; returns the seconds."""
        self.batch.n_tokens = len(entries)
        for i, (token, position, sequence, logits) in enumerate(entries):
            self.batch.token[i] = token
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = logits
        started = time.perf_counter()
        status = llama_cpp.llama_decode(self.raw, self.batch)
        llama_cpp.llama_synchronize(self.raw)
        seconds = time.perf_counter() - started
        if status != 0:
            sys.exit(f"llama_decode failed with status {status}")
        return seconds


def prompt_token(sequence: int, position: int) -> int:
    """Returns the ids that Farthing's side uses too; their values do not affect the time."""
    return 5 + (position * 37 + sequence * 101) % 40_000


def measure(model, sequences: int, context: int, new: int, threads: int) -> dict:
    # One more token is generated than is measured: the prompts' last position gives the first.
    ctx = Context(model, sequences, context + new + 1, threads)
    prompts = [
        (prompt_token(s, p), p, s, p == context - 1)
        for s in range(sequences)
        for p in range(context)
    ]
    # Warms up the threads and the graph allocation with one sequence, which is then removed.
    ctx.decode([(prompt_token(7, p), p, 0, p == 15) for p in range(16)])
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(ctx.raw), True)

    prompt_seconds = sum(
        ctx.decode(prompts[k : k + UBATCH]) for k in range(0, len(prompts), UBATCH)
    )
    output_seconds = sum(
        ctx.decode([(prompt_token(s, step), context + step, s, True) for s in range(sequences)])
        for step in range(new)
    )
    llama_cpp.llama_batch_free(ctx.batch)
    llama_cpp.llama_free(ctx.raw)
    return {
        "sequences": sequences,
        "prompt_tokens_per_second": sequences * context / prompt_seconds,
        "output_tokens_per_second": sequences * new / output_seconds,
    }


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("--write-bf16", metavar="TARGET", help="requantise MODEL and exit")
    args.add_argument("--sequences", type=int, nargs="+", default=[1])
    args.add_argument("--context", type=int, default=128)
    args.add_argument("--new", type=int, default=48)
    args.add_argument("--threads", type=int, default=os.cpu_count())
    a = args.parse_args()

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, None)
    llama_cpp.llama_backend_init()
    if a.write_bf16:
        requantize(a.model, a.write_bf16)
        return
    model = llama_cpp.llama_model_load_from_file(
        a.model.encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        sys.exit(f"llama.cpp could not load {a.model}")
    for sequences in a.sequences:
        result = measure(model, sequences, a.context, a.new, a.threads)
        result["system_info"] = llama_cpp.llama_print_system_info().decode().strip()
        result["version"] = llama_cpp.__version__
        result["weight_bytes"] = llama_cpp.llama_model_size(model)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
