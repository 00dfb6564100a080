// Choosing the next token of each row of logits, as ops/src/sample.rs does on the CPU.
//
// logits f32 [rows, vocab], read as they are: what bias and penalties change is put back. The order
// is vLLM's: logit bias, penalties, temperature, min-p, top-k, top-p. What is left is drawn from by
// inverting its distribution function, in the order of token ids, at a random number that depends
// on nothing but the row's seed and position. Ties go to the lower id.
//
// Per row: tokens u32, status u32 (0 fine, 1 a NaN among the logits, 2 no finite maximum: then the
// token is 0), logprobs f32 [21] (of the token, then of the likeliest tokens, likeliest first) and
// top_tokens u32 [20], under the unmodified logits, where params ask for them. history u32 and
// bias_tokens u32, bias_values f32 are lists that params point into; undo f32 [history_capacity +
// bias capacity] keeps the logits that they change.
//
// A block does one row, in passes over its logits: one for the highest, three for each of top-k and
// top-p (a radix select), one or two for the draw. Weights are added up as integers, in units of
// 2^-40 of the likeliest token's, so that no order of summation changes a token.
// Launch: grid (rows), 1024 threads; `sample` with 8 · ceil(vocab / 32) bytes.
//
// Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011 (Philox4x32-10).
#include "common.cuh"

namespace sample_kernel {

constexpr u32 THREADS = 1024;
constexpr u32 WARPS = THREADS / WARP_SIZE;
constexpr u32 MAX_TOP = 20;
constexpr u32 NO_LIMIT = 0xffffffffu;

/// How the next token of one row is chosen; 72 bytes.
struct Params {
    u64 seed;
    u64 position;
    float temperature;  // 0: the likeliest
    float top_p;        // 1: all
    float min_p;        // 0: all
    float presence_penalty;
    float frequency_penalty;
    float repetition_penalty;  // 1: none
    u32 top_k;                 // 0: all
    u32 logprobs;              // 0: none; n + 1: of the token and the n likeliest
    u32 history_start;         // the prompt
    u32 history_prompt_end;    // the output so far
    u32 history_end;
    u32 bias_start;
    u32 bias_end;
    u32 reserved;

    __device__ bool has_penalties() const {
        return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
    }
};

constexpr u32 NAN_KEY = 0xfffffffeu;

/// An integer in the order of the floats; NaN is above all.
__device__ inline u32 key_of(float x) {
    const u32 bits = __float_as_uint(x + 0.0f);  // no negative zero
    return x != x ? NAN_KEY : bits >> 31 ? ~bits : bits | 1u << 31;
}

/// The float of a key that isn't negative.
__device__ inline float weight_of(u32 key) { return __uint_as_float(key & ~(1u << 31)); }

/// A weight from 0 to 1 in units of 2^-40.
__device__ inline u64 mass_of(float weight) { return u64(weight * 1099511627776.0f); }

/// Loads of a thread under way at a time: a block is alone with its row, so only this hides how long
/// memory takes.
constexpr u32 BATCH = 8;

/// Calls `body` with the tokens `first..end`, `stride` apart, and their logits.
template <typename Body>
__device__ inline void
each_logit(const float* logits, u32 first, u32 end, u32 stride, Body body) {
    for (; first < end; first += BATCH * stride) {
        float batch[BATCH];
#pragma unroll
        for (u32 i = 0; i < BATCH; ++i) {
            const u32 token = first + i * stride;
            batch[i] = token < end ? logits[token] : 0.0f;
        }
#pragma unroll
        for (u32 i = 0; i < BATCH; ++i) {
            const u32 token = first + i * stride;
            if (token < end) {
                body(token, batch[i]);
            }
        }
    }
}

struct Maximum {
    __device__ u64 operator()(u64 a, u64 b) const { return a > b ? a : b; }
};

struct Sum {
    __device__ u64 operator()(u64 a, u64 b) const { return a + b; }
};

template <typename Operation> __device__ inline u64 warp_reduce(u64 value, Operation operation) {
#pragma unroll
    for (u32 distance = WARP_SIZE / 2; distance > 0; distance /= 2) {
        value = operation(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

/// The sum over the lanes up to this one.
__device__ inline u64 warp_prefix(u64 value) {
#pragma unroll
    for (u32 distance = 1; distance < WARP_SIZE; distance *= 2) {
        const u64 below = __shfl_up_sync(ALL_LANES, value, distance);
        value += lane_id() >= distance ? below : 0;
    }
    return value;
}

/// The result over the block, in every thread.
template <typename Operation> __device__ inline u64 block_reduce(u64 value, Operation operation) {
    __shared__ u64 parts[WARPS];
    value = warp_reduce(value, operation);
    if (lane_id() == 0) {
        parts[warp_id()] = value;
    }
    __syncthreads();
    value = warp_reduce(parts[lane_id()], operation);
    __syncthreads();
    return value;
}

/// The highest logit and its lowest token.
struct Likeliest {
    u64 rank;  // key, then the id upside down

    __device__ u32 token() const { return ~u32(rank); }
    __device__ bool is_nan() const { return rank >> 32 == NAN_KEY; }

    __device__ static u64 rank_of(float logit, u32 token) {
        return u64(key_of(logit)) << 32 | u32(~token);
    }
};

/// The likeliest token of a rank below `bound`.
__device__ inline Likeliest likeliest(const float* logits, u32 vocab, u64 bound) {
    u64 best = 0;
    each_logit(logits, threadIdx.x, vocab, THREADS, [&](u32 token, float logit) {
        const u64 rank = Likeliest::rank_of(logit, token);
        best = rank < bound && rank > best ? rank : best;
    });
    return {block_reduce(best, Maximum())};
}

/// Turns logits into weights; the likeliest token has 1.
struct Weights {
    const float* logits;
    u32 vocab;
    float highest;
    float temperature;

    __device__ u32 key(float logit) const {
        // A division, since the inverse of a tiny temperature is infinite.
        return key_of(expf((logit - highest) / temperature));
    }

    /// Calls `body` with the tokens `first..end`, `stride` apart, and the keys of their weights.
    template <typename Body>
    __device__ void each(u32 first, u32 end, u32 stride, Body body) const {
        each_logit(logits, first, end, stride, [&](u32 token, float logit) {
            body(token, key(logit));
        });
    }
};

/// What a filter keeps: tokens above the key, and the first `ties` that have the key itself.
struct Cut {
    u32 key;
    u32 ties;

    __device__ Cut tighter(Cut other) const {
        if (key != other.key) {
            return key > other.key ? *this : other;
        }
        return {key, min(ties, other.ties)};
    }
};

constexpr u32 BINS = 2048;

/// The bin, counted from the highest, in which a running sum of `amounts` reaches `target`, and the
/// sum above it.
struct Bin {
    u32 index;
    u64 above;
};

__device__ inline Bin find_bin(const u64 (&amounts)[BINS], u64 above, u64 target) {
    __shared__ u64 warp_amounts[WARPS];
    __shared__ Bin found;
    const u32 bin = BINS - 2 - 2 * threadIdx.x;  // and the one above it
    const u64 high = amounts[bin + 1], low = amounts[bin];
    const u64 end = warp_prefix(high + low);
    if (lane_id() == WARP_SIZE - 1) {
        warp_amounts[warp_id()] = end;
    }
    if (threadIdx.x == 0) {
        found = {0, above};
    }
    __syncthreads();
    for (u32 warp = 0; warp < warp_id(); ++warp) {
        above += warp_amounts[warp];
    }
    const u64 start = above + end - high - low;
    if (start < target && target <= start + high) {
        found = {bin + 1, start};
    } else if (start + high < target && target <= start + high + low) {
        found = {bin, start + high};
    }
    __syncthreads();
    return found;
}

/// The tightest cut that keeps `target` tokens (BY_COUNT) or at least so much mass, of those that
/// `within` keeps.
template <bool BY_COUNT> __device__ inline Cut select(const Weights& weights, u64 target, Cut within) {
    static_assert(BINS == 2 * THREADS, "a thread does two bins");
    __shared__ u64 amounts[BINS];
    u32 prefix = 0;
    u64 above = 0;
    u32 known = 0;  // the bits of the prefix that are settled
    for (u32 level = 0; level < 3; ++level) {
        // 11, 11 and 10 bits, from the highest on.
        const u32 shift = level == 0 ? 21 : level == 1 ? 10 : 0;
        const u32 bins = level == 2 ? BINS / 2 : BINS;
        for (u32 bin = threadIdx.x; bin < BINS; bin += THREADS) {
            amounts[bin] = 0;
        }
        __syncthreads();
        weights.each(threadIdx.x, weights.vocab, THREADS, [&](u32, u32 key) {
            if ((key & known) == prefix && key >= within.key) {
                const u64 amount = BY_COUNT ? 1 : mass_of(weight_of(key));
                atomicAdd(&amounts[key >> shift & (bins - 1)], amount);
            }
        });
        __syncthreads();
        const Bin bin = find_bin(amounts, above, target);
        __syncthreads();
        above = bin.above;
        prefix |= bin.index << shift;
        known |= (bins - 1) << shift;
    }
    const u64 amount = BY_COUNT ? 1 : mass_of(weight_of(prefix));
    const u64 ties = amount == 0 ? NO_LIMIT : (target - above + amount - 1) / amount;
    return within.tighter({prefix, u32(ties)});
}

/// The kept mass, warp by warp: each has a stretch of the vocabulary.
struct Kept {
    u64 before;      // mass of the warps before
    u64 own;         // of this warp
    u64 total;
    u32 ties_left;   // ties that this warp may keep

    __device__ static u32 stretch(u32 vocab) {
        return ceil_div(vocab, WARPS * WARP_SIZE) * WARP_SIZE;
    }

    __device__ Kept(const Weights& weights, Cut cut) : before(0), own(0), total(0), ties_left(0) {
        __shared__ u64 masses[WARPS];
        __shared__ u32 tie_counts[WARPS];
        const u32 begin = warp_id() * stretch(weights.vocab);
        const u32 end = min(begin + stretch(weights.vocab), weights.vocab);
        u64 mass = 0;
        u64 ties = 0;
        weights.each(begin + lane_id(), end, WARP_SIZE, [&](u32, u32 key) {
            mass += key > cut.key ? mass_of(weight_of(key)) : 0;
            ties += key == cut.key;
        });
        mass = warp_reduce(mass, Sum());
        ties = warp_reduce(ties, Sum());
        if (lane_id() == 0) {
            masses[warp_id()] = mass;
            tie_counts[warp_id()] = u32(ties);
        }
        __syncthreads();
        u32 left = cut.ties;
        for (u32 warp = 0; warp < WARPS; ++warp) {
            const u32 kept_ties = min(left, tie_counts[warp]);
            const u64 kept = masses[warp] + kept_ties * mass_of(weight_of(cut.key));
            if (warp == warp_id()) {
                before = total;
                own = kept;
                ties_left = left;
            }
            total += kept;
            left -= kept_ties;
        }
        __syncthreads();
    }

    /// Tells the token at which the mass passes `target`, if it is in this warp's stretch.
    __device__ void find(const Weights& weights, Cut cut, u64 target, u32* token_out) const {
        if (target < before || target >= before + own) {
            return;
        }
        u64 passed = before;
        u32 left = ties_left;
        for (u32 first = warp_id() * stretch(weights.vocab);; first += BATCH * WARP_SIZE) {
            float batch[BATCH];
#pragma unroll
            for (u32 i = 0; i < BATCH; ++i) {
                const u32 token = first + i * WARP_SIZE + lane_id();
                batch[i] = token < weights.vocab ? weights.logits[token] : 0.0f;
            }
#pragma unroll
            for (u32 i = 0; i < BATCH; ++i) {
                const u32 token = first + i * WARP_SIZE + lane_id();
                // No weight has the key 0.
                const u32 key = token < weights.vocab ? weights.key(batch[i]) : 0;
                const u32 tie_lanes = __ballot_sync(ALL_LANES, key == cut.key);
                const u32 ties_below = __popc(tie_lanes & ((1u << lane_id()) - 1));
                const bool is_kept = key > cut.key || (key == cut.key && ties_below < left);
                const u64 end = passed + warp_prefix(is_kept ? mass_of(weight_of(key)) : 0);
                const u32 beyond = __ballot_sync(ALL_LANES, end > target);
                if (beyond != 0) {
                    if (lane_id() == u32(__ffs(beyond) - 1)) {
                        *token_out = token;
                    }
                    return;
                }
                passed = __shfl_sync(ALL_LANES, end, WARP_SIZE - 1);
                left -= min(left, u32(__popc(tie_lanes)));
            }
        }
    }
};

/// Philox4x32-10 of the position under the seed, as a number in [0, 1) of 53 random bits.
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

/// A token of the filtered distribution.
__device__ inline u32 draw(const Weights& weights, const Params& params) {
    Cut cut = {0, NO_LIMIT};
    if (params.min_p > 0.0f) {
        cut = {key_of(fminf(params.min_p, 1.0f)), NO_LIMIT};
    }
    if (params.top_k > 0 && params.top_k < weights.vocab) {
        cut = cut.tighter(select<true>(weights, params.top_k, {0, NO_LIMIT}));
    }
    if (params.top_p < 1.0f) {
        const u64 total = Kept(weights, cut).total;
        const u64 enough = u64(ceil(double(params.top_p) * double(total)));
        cut = select<false>(weights, min(max(enough, u64(1)), total), cut);
    }
    const Kept kept(weights, cut);
    const u64 target = u64(uniform(params.seed, params.position) * double(kept.total));
    __shared__ u32 token;
    kept.find(weights, cut, min(target, kept.total - 1), &token);
    __syncthreads();
    return token;
}

/// The lists that a row's params point into.
struct Lists {
    const u32* history;
    const u32* bias_tokens;
    const float* bias_values;
    float* undo;  // [history_capacity + bias capacity]
    u32 history_capacity;
};

/// Bias and penalties on the logits of one row; remembers what was there before.
struct Changes {
    const Params& params;
    const Lists& lists;
    float* logits;
    u32 history_end;  // without penalties the history has no say

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

    /// `bits` u32 [2, ceil(vocab / 32)]: a token that is there more often is penalised once.
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

/// Why a row has no token: 1 a NaN, 2 no finite maximum; 0 if it has.
__device__ inline u32 status_of(Likeliest top, float highest) {
    return top.is_nan() ? 1 : fabsf(highest) == INFINITY ? 2 : 0;
}

/// Log-probabilities of the token and of the `count` likeliest: logprobs [1 + count].
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
    const Params own = params[row];
    float* row_logits = logits + u64(row) * vocab;
    const Lists lists = {history, bias_tokens, bias_values, undo, history_capacity};
    const Changes changes(own, lists, row_logits);
    changes.make(reinterpret_cast<u32*>(shared), vocab);

    const Likeliest top = likeliest(row_logits, vocab, ~u64(0));
    const float highest = row_logits[top.token()];
    const u32 problem = status_of(top, highest);
    u32 token = problem == 0 ? top.token() : 0;
    if (problem == 0 && own.temperature > 0.0f) {
        token = draw({row_logits, vocab, highest, own.temperature}, own);
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

/// Log-probabilities of given tokens, one a row, and of the `top` likeliest of each row.
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
