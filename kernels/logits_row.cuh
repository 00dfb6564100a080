// A block reads one row of logits: common code of sampling and log-probabilities.
#pragma once
#include "common.cuh"

namespace sample_kernel {

constexpr u32 THREADS = 1024;
constexpr u32 WARPS = THREADS / WARP_SIZE;

constexpr u32 NAN_KEY = 0xfffffffeu;

/// An integer that sorts like the float. NaN sorts above all other values.
__device__ inline u32 key_of(float x) {
    const u32 bits = __float_as_uint(x + 0.0f);  // no negative zero
    return x != x ? NAN_KEY : bits >> 31 ? ~bits : bits | 1u << 31;
}

/// Loads that a thread has in flight. Only one block reads a row, so nothing else hides the memory
/// latency.
constexpr u32 BATCH = 8;

/// Calls `body` with every `stride`-th token of `first..end` and its logit.
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

/// The sum over this lane and all lower lanes.
__device__ inline u64 warp_prefix(u64 value) {
#pragma unroll
    for (u32 distance = 1; distance < WARP_SIZE; distance *= 2) {
        const u64 below = __shfl_up_sync(ALL_LANES, value, distance);
        value += lane_id() >= distance ? below : 0;
    }
    return value;
}

/// Reduces over the block. Every thread gets the result.
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

/// The highest logit and the lowest token id that has it.
struct Likeliest {
    u64 rank;  // key in the high half, inverted token id in the low half

    __device__ u32 token() const { return ~u32(rank); }
    __device__ bool is_nan() const { return rank >> 32 == NAN_KEY; }

    __device__ static u64 rank_of(float logit, u32 token) {
        return u64(key_of(logit)) << 32 | u32(~token);
    }
};

/// The most likely token with a rank below `bound`.
__device__ inline Likeliest likeliest(const float* logits, u32 vocab, u64 bound) {
    u64 best = 0;
    each_logit(logits, threadIdx.x, vocab, THREADS, [&](u32 token, float logit) {
        const u64 rank = Likeliest::rank_of(logit, token);
        best = rank < bound && rank > best ? rank : best;
    });
    return {block_reduce(best, Maximum())};
}

}  // namespace sample_kernel
