// Samples the next token of each row of logits, as ops/src/sample.rs does on the CPU.
//
// logits: f32 [rows, vocab]. The kernel restores the logits that bias and penalties change. The order of
// the steps is vLLM's: logit bias, penalties, temperature, min-p, top-k, top-p. The kernel samples from
// the remaining tokens by inverting their cumulative distribution function in the order of token ids.
// The random number depends only on the row's seed and position. Ties go to the lower token id.
//
// Output per row: tokens u32; status u32 (0: no error, 1: a logit is NaN, 2: no finite maximum, 3: the
// passes over the logits disagree, and the token is 0). If params request them, also logprobs f32 [21]
// (of the token, then of the most likely tokens in descending order) and top_tokens u32 [20], both under
// the unmodified logits. history u32, bias_tokens u32 and bias_values f32 are lists that params index.
// undo: f32 [history_capacity + bias capacity] keeps the original values of the logits that change.
//
// A block samples one row in several passes over its logits: one pass for the maximum, three for each of
// top-k and top-p, one or two for the draw.
// Launch: grid (rows), 1024 threads; `sample` needs 8 · ceil(vocab / 32) bytes of shared memory.
//
// Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011 (Philox4x32-10).
#include "draw.cuh"

namespace sample_kernel {

constexpr u32 MAX_TOP = 20;

/// Sampling parameters of one row; 72 bytes.
struct Params {
    u64 seed;
    u64 position;
    float temperature;  // 0: the most likely token
    float top_p;        // 1: all
    float min_p;        // 0: all
    float presence_penalty;
    float frequency_penalty;
    float repetition_penalty;  // 1: none
    u32 top_k;                 // 0: all
    u32 logprobs;              // 0: none; n + 1: of the token and the n most likely tokens
    u32 history_start;         // start of the prompt
    u32 history_prompt_end;    // end of the prompt and start of the output so far
    u32 history_end;
    u32 bias_start;
    u32 bias_end;
    u32 reserved;

    __device__ bool has_penalties() const {
        return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
    }
};

/// A number in [0, 1) with 53 random bits: Philox4x32-10 with key `seed` and counter `position`.
__device__ inline double uniform(u64 seed, u64 position) {
    u32 counter[4] = {u32(position), u32(position >> 32), 0, 0};
    u32 key[2] = {u32(seed), u32(seed >> 32)};
    for (u32 round = 0; round < 10; ++round) {
        const u64 first = u64(counter[0]) * 0xd2511f53u;
        const u64 second = u64(counter[2]) * 0xcd9e8d57u;
        const u32 next[4] = {
            u32(second >> 32) ^ counter[1] ^ key[0], u32(second),
            u32(first >> 32) ^ counter[3] ^ key[1], u32(first)};
        for (u32 i = 0; i < 4; ++i) {
            counter[i] = next[i];
        }
        key[0] += 0x9e3779b9u;
        key[1] += 0xbb67ae85u;
    }
    return double((u64(counter[0]) << 32 | counter[1]) >> 11) * 0x1p-53;
}

/// The lists that a row's params index.
struct Lists {
    const u32* history;
    const u32* bias_tokens;
    const float* bias_values;
    float* undo;  // [history_capacity + bias capacity]
    u32 history_capacity;
};

/// Applies bias and penalties to the logits of one row, and keeps the original values.
struct Changes {
    const Params& params;
    const Lists& lists;
    float* logits;
    u32 history_end;  // without penalties the history is not used

    __device__ Changes(const Params& params, const Lists& lists, float* logits)
        : params(params), lists(lists), logits(logits),
          history_end(params.has_penalties() ? params.history_end : params.history_start) {}

    template <typename Body> __device__ void each_history(u32 start, Body body) const {
        for (u32 i = start + threadIdx.x; i < history_end; i += THREADS) {
            body(i, lists.history[i]);
        }
    }

    template <typename Body> __device__ void each_bias(Body body) const {
        for (u32 i = params.bias_start + threadIdx.x; i < params.bias_end; i += THREADS) {
            body(i, lists.bias_tokens[i]);
        }
    }

    /// `bits`: u32 [2, ceil(vocab / 32)]. A token that occurs several times is penalised once.
    __device__ void make(u32* bits, u32 vocab) const {
        float* undo_bias = lists.undo + lists.history_capacity;
        each_history(params.history_start, [&](u32 i, u32 token) { lists.undo[i] = logits[token]; });
        each_bias([&](u32 i, u32 token) { undo_bias[i] = logits[token]; });
        __syncthreads();
        each_bias([&](u32 i, u32 token) { atomicAdd(logits + token, lists.bias_values[i]); });
        if (!params.has_penalties()) {
            __syncthreads();
            return;
        }
        const u32 words = ceil_div(vocab, 32);
        for (u32 word = threadIdx.x; word < 2 * words; word += THREADS) {
            bits[word] = 0;
        }
        __syncthreads();
        const auto is_first = [](u32* bits, u32 token) {
            const u32 bit = 1u << token % 32;
            return (atomicOr(bits + token / 32, bit) & bit) == 0;
        };
        each_history(params.history_start, [&](u32, u32 token) {
            if (is_first(bits, token)) {
                const float logit = logits[token];
                logits[token] = logit > 0.0f ? logit / params.repetition_penalty
                                             : logit * params.repetition_penalty;
            }
        });
        __syncthreads();
        each_history(params.history_prompt_end, [&](u32, u32 token) {
            atomicAdd(logits + token, -params.frequency_penalty);
        });
        __syncthreads();
        each_history(params.history_prompt_end, [&](u32, u32 token) {
            if (is_first(bits + words, token)) {
                logits[token] -= params.presence_penalty;
            }
        });
        __syncthreads();
    }

    __device__ void undo() const {
        const float* undo_bias = lists.undo + lists.history_capacity;
        __syncthreads();
        each_history(params.history_start, [&](u32 i, u32 token) { logits[token] = lists.undo[i]; });
        each_bias([&](u32 i, u32 token) { logits[token] = undo_bias[i]; });
        __syncthreads();
    }
};

/// The status of a row: 1 if a logit is NaN, 2 if there is no finite maximum, else 0.
__device__ inline u32 status_of(Likeliest top, float highest) {
    return top.is_nan() ? 1 : fabsf(highest) == INFINITY ? 2 : 0;
}

/// Writes the log-probabilities of the token and of the `count` most likely: logprobs [1 + count].
__device__ inline void tell_logprobs(
    float* logprobs, u32* top_tokens, const float* logits, u32 vocab, u32 token, u32 count) {
    Likeliest top = likeliest(logits, vocab, ~u64(0));
    const float highest = logits[top.token()];
    u64 mass = 0;
    each_logit(logits, threadIdx.x, vocab, THREADS, [&](u32, float logit) {
        mass += mass_of(expf(logit - highest));
    });
    mass = block_reduce(mass, Sum());
    const double log_total = double(highest) + log(double(mass) * 0x1p-40);
    if (threadIdx.x == 0) {
        logprobs[0] = float(double(logits[token]) - log_total);
    }
    for (u32 n = 0; n < min(count, vocab); ++n) {
        if (threadIdx.x == 0) {
            const u32 id = top.token();
            top_tokens[n] = id;
            logprobs[1 + n] = float(double(logits[id]) - log_total);
        }
        if (n + 1 < count) {
            top = likeliest(logits, vocab, top.rank);
        }
    }
}

}  // namespace sample_kernel

KERNEL(
    sample_kernel::THREADS, sample, u32* tokens, u32* status, float* logprobs, u32* top_tokens,
    float* undo, float* logits, const sample_kernel::Params* params, const u32* history,
    const u32* bias_tokens, const float* bias_values, const u32* live, u32 vocab,
    u32 history_capacity) {
    using namespace sample_kernel;
    const u32 row = blockIdx.x;
    if (row >= *live) {
        return;
    }
    DYNAMIC_SHARED(shared);
    // In shared memory, so that the parameters occupy no registers between their uses.
    __shared__ Params own;
    if (threadIdx.x == 0) {
        own = params[row];
    }
    __syncthreads();
    float* row_logits = logits + u64(row) * vocab;
    const Lists lists = {history, bias_tokens, bias_values, undo, history_capacity};
    const Changes changes(own, lists, row_logits);
    changes.make(reinterpret_cast<u32*>(shared), vocab);

    const Likeliest top = likeliest(row_logits, vocab, ~u64(0));
    const float highest = row_logits[top.token()];
    u32 problem = status_of(top, highest);
    u32 token = problem == 0 ? top.token() : 0;
    if (problem == 0 && own.temperature > 0.0f) {
        const Weights weights = {row_logits, vocab, highest, own.temperature};
        const Filters filters = {own.min_p, own.top_k, own.top_p};
        token = draw(weights, filters, uniform(own.seed, own.position));
        if (token == NO_TOKEN) {
            problem = 3;
            token = 0;
        }
    }
    if (threadIdx.x == 0) {
        tokens[row] = token;
        status[row] = problem;
    }
    changes.undo();
    if (problem == 0 && own.logprobs > 0) {
        tell_logprobs(logprobs + row * (1 + MAX_TOP), top_tokens + row * MAX_TOP, row_logits, vocab,
                      token, min(own.logprobs - 1, MAX_TOP));
    }
}

/// Log-probabilities of given tokens, one per row, and of the `top` most likely tokens of each row.
KERNEL(
    sample_kernel::THREADS, token_logprobs, float* logprobs, u32* top_tokens, u32* status,
    const float* logits, const u32* tokens, const u32* live, u32 vocab, u32 top) {
    using namespace sample_kernel;
    const u32 row = blockIdx.x;
    if (row >= *live) {
        return;
    }
    const float* row_logits = logits + u64(row) * vocab;
    const Likeliest first = likeliest(row_logits, vocab, ~u64(0));
    const u32 problem = status_of(first, row_logits[first.token()]);
    if (threadIdx.x == 0) {
        status[row] = problem;
    }
    if (problem == 0) {
        tell_logprobs(logprobs + row * (1 + MAX_TOP), top_tokens + row * MAX_TOP, row_logits, vocab,
                      tokens[row], min(top, MAX_TOP));
    }
}
