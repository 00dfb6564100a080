// Drawing a token from a filtered distribution, as ops/src/sample/draw.rs does on the CPU.
//
// Weights are added up as integers in units of 2^-40 of the most likely token's weight, so that the
// result does not depend on the order of summation. Filters are thresholds. A radix select over the bits
// of the weights finds them, without a sort.
#pragma once
#include "logits_row.cuh"

namespace sample_kernel {

constexpr u32 NO_LIMIT = 0xffffffffu;

/// The float of a key. The float must not be negative.
__device__ inline float weight_of(u32 key) { return __uint_as_float(key & ~(1u << 31)); }

/// A weight from 0 to 1 in units of 2^-40.
__device__ inline u64 mass_of(float weight) { return u64(weight * 1099511627776.0f); }

/// Converts logits to weights. The most likely token has weight 1.
struct Weights {
    const float* logits;
    u32 vocab;
    float highest;
    float temperature;

    __device__ u32 key(float logit) const {
        // A division, because the inverse of a tiny temperature is infinite.
        return key_of(expf((logit - highest) / temperature));
    }

    /// Calls `body` with every `stride`-th token of `first..end` and the key of its weight.
    template <typename Body>
    __device__ void each(u32 first, u32 end, u32 stride, Body body) const {
        each_logit(logits, first, end, stride, [&](u32 token, float logit) {
            body(token, key(logit));
        });
    }
};

/// The tokens that a filter keeps: those above the key, and the first `ties` tokens with this key.
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

/// 64-bit sums in 32-bit words. A GPU has an instruction for 32-bit atomic addition in shared memory. A
/// 64-bit addition is a compare-and-swap loop, which is slow if many threads update the same bin.
struct Histogram {
    u32 low[BINS];
    u32 high[BINS];

    __device__ u64 operator[](u32 bin) const { return u64(high[bin]) << 32 | low[bin]; }

    __device__ void clear() {
        for (u32 bin = threadIdx.x; bin < BINS; bin += THREADS) {
            low[bin] = 0;
            high[bin] = 0;
        }
    }

    /// The thread that causes an overflow of the low word detects it, so the sum is exact in any order.
    __device__ void add(u32 bin, u64 amount) {
        const u32 added = u32(amount);
        const u32 before = atomicAdd(&low[bin], added);
        const u32 carry = before + added < before;
        const u32 more = u32(amount >> 32) + carry;
        if (more != 0) {
            atomicAdd(&high[bin], more);
        }
    }

    /// Adds an amount for each lane of the warp. If many lanes have the same bin, the warp adds up their
    /// amounts first, because atomic additions to one address are serialized.
    __device__ void add_for_warp(u32 bin, u64 amount) {
        constexpr int MANY = 8;
        for (;;) {
            const u32 lanes = __ballot_sync(ALL_LANES, amount != 0);
            const u32 first = lanes == 0 ? 0 : __ffs(lanes) - 1;
            const u32 common = __shfl_sync(ALL_LANES, bin, first);
            const bool shares = amount != 0 && bin == common;
            if (__popc(__ballot_sync(ALL_LANES, shares)) < MANY) {
                break;
            }
            const u64 sum = warp_reduce(shares ? amount : 0, Sum());
            if (lane_id() == first) {
                add(common, sum);
            }
            amount = shares ? 0 : amount;
        }
        if (amount != 0) {
            add(bin, amount);
        }
    }
};

/// The bin, counted from the highest, in which a running sum of `amounts` reaches `target`, and the
/// sum above it.
struct Bin {
    u32 index;
    u64 above;
};

__device__ inline Bin find_bin(const Histogram& amounts, u64 above, u64 target) {
    __shared__ u64 warp_amounts[WARPS];
    __shared__ Bin found;
    const u32 bin = BINS - 2 - 2 * threadIdx.x;  // this thread also reads the bin above
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

/// The tightest cut of the tokens in `within` that keeps `target` tokens (BY_COUNT) or at least the mass
/// `target`.
template <bool BY_COUNT> __device__ inline Cut select(const Weights& weights, u64 target, Cut within) {
    static_assert(BINS == 2 * THREADS, "a thread does two bins");
    __shared__ Histogram amounts;
    u32 prefix = 0;
    u64 above = 0;
    u32 known = 0;  // mask of the prefix's bits that are known
    for (u32 level = 0; level < 3; ++level) {
        // 11, 11 and 10 bits, from the highest bit down.
        const u32 shift = level == 0 ? 21 : level == 1 ? 10 : 0;
        const u32 bins = level == 2 ? BINS / 2 : BINS;
        amounts.clear();
        __syncthreads();
        // All lanes of a warp run the same number of iterations.
        for (u32 start = 0; start < weights.vocab; start += BATCH * THREADS) {
            float batch[BATCH];
#pragma unroll
            for (u32 i = 0; i < BATCH; ++i) {
                const u32 token = start + i * THREADS + threadIdx.x;
                batch[i] = token < weights.vocab ? weights.logits[token] : 0.0f;
            }
#pragma unroll
            for (u32 i = 0; i < BATCH; ++i) {
                const u32 token = start + i * THREADS + threadIdx.x;
                const u32 key = weights.key(batch[i]);
                const bool counts = token < weights.vocab && (key & known) == prefix && key >= within.key;
                const u64 amount = BY_COUNT ? 1 : mass_of(weight_of(key));
                amounts.add_for_warp(key >> shift & (bins - 1), counts ? amount : 0);
            }
        }
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

/// The kept mass of each warp. Each warp has a contiguous range of the vocabulary.
struct Kept {
    u64 before;      // mass of the previous warps
    u64 own;         // mass of this warp
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

    /// Writes the token at which the mass exceeds `target`, if that token is in this warp's range. The
    /// search always ends with the range: if the logits changed since they were summed, it writes no
    /// token.
    __device__ void find(const Weights& weights, Cut cut, u64 target, u32* token_out) const {
        if (target < before || target >= before + own) {
            return;
        }
        u64 passed = before;
        u32 left = ties_left;
        const u32 begin = warp_id() * stretch(weights.vocab);
        const u32 end_of_stretch = min(begin + stretch(weights.vocab), weights.vocab);
        for (u32 first = begin; first < end_of_stretch; first += BATCH * WARP_SIZE) {
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

/// The filters that restrict the distribution.
struct Filters {
    float min_p;  // 0: keep all tokens
    u32 top_k;    // 0: keep all tokens
    float top_p;  // 1: keep all tokens
};

constexpr u32 NO_TOKEN = 0xffffffffu;

/// Draws a token from the filtered distribution. `uniform` is a number in [0, 1).
__device__ inline u32 draw(const Weights& weights, Filters filters, double uniform) {
    Cut cut = {0, NO_LIMIT};
    if (filters.min_p > 0.0f) {
        cut = {key_of(fminf(filters.min_p, 1.0f)), NO_LIMIT};
    }
    if (filters.top_k > 0 && filters.top_k < weights.vocab) {
        cut = cut.tighter(select<true>(weights, filters.top_k, {0, NO_LIMIT}));
    }
    if (filters.top_p < 1.0f) {
        const u64 total = Kept(weights, cut).total;
        const u64 enough = u64(ceil(double(filters.top_p) * double(total)));
        cut = select<false>(weights, min(max(enough, u64(1)), total), cut);
    }
    const Kept kept(weights, cut);
    const u64 target = u64(uniform * double(kept.total));
    __shared__ u32 token;
    if (threadIdx.x == 0) {
        token = NO_TOKEN;
    }
    __syncthreads();
    kept.find(weights, cut, min(target, kept.total - 1), &token);
    __syncthreads();
    return token;
}

}  // namespace sample_kernel
