// Low-rank adapters, any mix of them in one batch: out = gain ⊙ out + bias + scale · B (A x), each row
// by its own.
//
// One call serves one fused linear layer of `targets` parts (query, key and value; gate and up):
// target `t` has the columns target_ends[t - 1]..target_ends[t] of out, multiples of 32. An adapter
// lives in a slot of the pool; token_slots i32 [tokens] says which, -1 for none. On the device are
//   a T [slots, targets · max_rank, in_features], target t's A from row t · max_rank on,
//   b T [slots, out_features, max_rank],
//   ranks u32 [slots, targets], at most max_rank, 0 where an adapter leaves a target alone,
//   scales f32 [slots, targets],
//   gains and biases f32 [slots, out_features], either null where no adapter has any.
// What lies past a rank is never used. max_rank is a multiple of 16, in_features one of 32.
//
// Shrink: partial[split] = A x over one piece of the inputs, f32 [splits, tokens_cap, targets ·
// max_rank]. A block does 16 tokens by 16 ranks, its four warps by turns of 32 inputs.
// Launch: grid (ceil(tokens_cap / 16), targets · max_rank / 16, splits), 128 threads.
//
// Expand: out [tokens, out_features] gets its gain, its bias and B (scale · Σ partial). A block does 16 tokens by 128
// columns, 32 a warp. Launch: grid (ceil(tokens_cap / 16), ceil(out_features / 128)), 128 threads,
// 32 · targets · (max_rank + 16) bytes.
//
// In both, a block does one adapter of its 16 tokens after the other, with the rows of the others
// as zeros in the tensor-core tile. So each adapter's weights are read once for 16 tokens, and a
// batch that is sorted by adapter does hardly any work twice.
//
// Sources: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; Liu et al., "DoRA:
// Weight-Decomposed Low-Rank Adaptation", 2024; Chen et al., "Punica: Multi-Tenant LoRA Serving",
// 2023.
#include "common.cuh"

namespace lora_kernel {

constexpr u32 WARPS = 4;
constexpr u32 THREADS = WARPS * WARP_SIZE;
constexpr u32 TOKENS = 16;
constexpr u32 RANKS = 16;
/// Inputs that a warp multiplies at a time: 8 a lane, so that a lane loads 16 bytes.
constexpr u32 INPUTS = 32;
/// Columns of a warp of the expand kernel: 8 a lane.
constexpr u32 COLUMNS = 32;
constexpr u32 BLOCK_COLUMNS = WARPS * COLUMNS;

/// Goes over the adapters of a block's 16 tokens, each once. All lanes of all warps go together.
struct Slots {
    int own;    // of token `lane % 16`
    u32 left;   // lanes whose adapter is still to come

    __device__ Slots(const int* token_slots, u32 first, u32 live) {
        const u32 token = first + lane_id() % TOKENS;
        own = token < live ? token_slots[token] : -1;
        left = __ballot_sync(ALL_LANES, own >= 0);
    }

    /// The next adapter, -1 after the last.
    __device__ int next() {
        if (left == 0) {
            return -1;
        }
        const int slot = __shfl_sync(ALL_LANES, own, __ffs(left) - 1);
        left &= ~__ballot_sync(ALL_LANES, own == slot);
        return slot;
    }

    /// The adapter of a token of the block, 0 to 15; -1 for none.
    __device__ int of(u32 token) const { return __shfl_sync(ALL_LANES, own, token); }
};

/// The pairs of a vector, as operands of two mma steps: the inputs of a sum may come in any order,
/// if they come in the same one on both sides.
template <typename T>
__device__ inline void multiply_add(float (&c)[4], uint4 low, uint4 high, uint4 b) {
    const u32 first[4] = {low.x, high.x, low.y, high.y};
    const u32 second[4] = {low.z, high.z, low.w, high.w};
    mma_16x8x16<T>(c, first, b.x, b.y);
    mma_16x8x16<T>(c, second, b.z, b.w);
}

template <typename T>
__device__ inline void shrink(
    float* __restrict__ partial, const T* __restrict__ x, const T* __restrict__ a,
    const int* __restrict__ token_slots, const u32* __restrict__ ranks,
    const u32* __restrict__ live, u32 tokens_cap, u32 in_features, u32 targets, u32 max_rank) {
    const u32 first = blockIdx.x * TOKENS;
    if (first >= *live) {
        return;
    }
    const u32 row_len = targets * max_rank;
    const u32 first_rank = blockIdx.y * RANKS;
    const u32 target = first_rank / max_rank;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const u32 row = lane_id() / 4;

    // Each split has as many turns of INPUTS as the others, or one less.
    const u32 turns = in_features / INPUTS;
    const u32 begin = u64(turns) * blockIdx.z / gridDim.z;
    const u32 end = u64(turns) * (blockIdx.z + 1) / gridDim.z;

    float sums[2][4] = {};
    Slots slots(token_slots, first, *live);
    for (int slot = slots.next(); slot >= 0; slot = slots.next()) {
        const bool has_low = slots.of(row) == slot, has_high = slots.of(row + 8) == slot;
        const int rank_left = int(ranks[slot * targets + target]) - int(first_rank % max_rank);
        if (rank_left <= 0) {
            continue;
        }
        const u32 offset = lane_id() % 4 * VECTOR;
        const T* x_low = x + u64(first + row) * in_features + offset;
        const T* x_high = x_low + 8 * u64(in_features);
        const T* a_low = a + (u64(slot) * row_len + first_rank + row) * in_features + offset;
        const T* a_high = a_low + 8 * u64(in_features);
#pragma unroll 4
        for (u32 turn = begin + warp_id(); turn < end; turn += WARPS) {
            const u64 i = u64(turn) * INPUTS;
            const uint4 low = has_low ? load_vector(x_low + i) : zero;
            const uint4 high = has_high ? load_vector(x_high + i) : zero;
            multiply_add<T>(sums[0], low, high, int(row) < rank_left ? load_vector(a_low + i) : zero);
            if (rank_left > 8) {
                const bool is_rank = int(row) + 8 < rank_left;
                multiply_add<T>(sums[1], low, high, is_rank ? load_vector(a_high + i) : zero);
            }
        }
    }

    __shared__ float warp_sums[WARPS][TOKENS][RANKS + 1];
#pragma unroll
    for (u32 e = 0; e < 4; ++e) {
        const u32 token = row + e / 2 * 8, column = lane_id() % 4 * 2 + e % 2;
        warp_sums[warp_id()][token][column] = sums[0][e];
        warp_sums[warp_id()][token][column + 8] = sums[1][e];
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < TOKENS * RANKS; i += THREADS) {
        const u32 token = i / RANKS, column = i % RANKS;
        if (first + token >= *live) {
            break;
        }
        float sum = 0.0f;
#pragma unroll
        for (u32 warp = 0; warp < WARPS; ++warp) {
            sum += warp_sums[warp][token][column];
        }
        const u64 at = u64(blockIdx.z) * tokens_cap + first + token;
        partial[at * row_len + first_rank + column] = sum;
    }
}

/// The first `count` values of a pair, and zeros.
__device__ inline u32 keep(u32 pair, int count) {
    return count >= 2 ? pair : count == 1 ? pair & 0xffffu : 0;
}

/// Elements from one row of shrunk activations in shared memory to the next: the rows that a half
/// warp loads from lie in different banks.
__device__ inline u32 shrunk_stride(u32 max_rank) {
    return max_rank + (max_rank % 32 == 0 ? 16 : 0);
}

/// The target that a column is of.
__device__ inline u32 target_of(u32 column, const u32* target_ends) {
    u32 target = 0;
    while (column >= target_ends[target]) {
        ++target;
    }
    return target;
}

template <typename T>
__device__ inline void expand(
    T* __restrict__ out, const float* __restrict__ partial, const T* __restrict__ b,
    const int* __restrict__ token_slots, const u32* __restrict__ ranks,
    const float* __restrict__ scales, const float* __restrict__ gains,
    const float* __restrict__ biases, const u32* __restrict__ target_ends,
    const u32* __restrict__ live, u32 tokens_cap, u32 out_features, u32 targets, u32 max_rank,
    u32 splits) {
    const u32 first = blockIdx.x * TOKENS;
    if (first >= *live) {
        return;
    }
    Slots slots(token_slots, first, *live);
    if (slots.left == 0) {
        return;
    }

    // The scaled activations of the targets that this block's columns are of, as many values as
    // each adapter has ranks and zeros up to the next multiple of 4: [targets, 16, stride].
    DYNAMIC_SHARED(shared);
    T* shrunk = reinterpret_cast<T*>(shared);
    const u32 stride = shrunk_stride(max_rank);
    const u32 first_column = blockIdx.y * BLOCK_COLUMNS;
    const u32 first_target = target_of(first_column, target_ends);
    const u32 last_column = min(first_column + BLOCK_COLUMNS, out_features) - 1;
    const u32 staged = target_of(last_column, target_ends) - first_target + 1;
    const u32 quads = max_rank / 4;
    for (u32 i = threadIdx.x; i < staged * TOKENS * quads; i += THREADS) {
        const u32 target = first_target + i / (TOKENS * quads);
        const u32 token = i / quads % TOKENS, rank = i % quads * 4;
        const int slot = first + token < *live ? token_slots[first + token] : -1;
        const int count = slot < 0 ? 0 : int(ranks[slot * targets + target]) - int(rank);
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (u32 split = 0; split < splits && count > 0; ++split) {
            const u64 row = u64(split) * tokens_cap + first + token;
            const float* from = partial + (row * targets + target) * max_rank + rank;
            const float4 part = *reinterpret_cast<const float4*>(from);
            sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
        }
        const float scale = count > 0 ? scales[slot * targets + target] : 0.0f;
        const u32 low = keep(pack<T>(sum.x * scale, sum.y * scale), count);
        const u32 high = keep(pack<T>(sum.z * scale, sum.w * scale), count - 2);
        T* to = shrunk + ((target - first_target) * TOKENS + token) * stride + rank;
        *reinterpret_cast<uint2*>(to) = make_uint2(low, high);
    }
    __syncthreads();

    const u32 column = first_column + warp_id() * COLUMNS;
    if (column >= out_features) {
        return;
    }
    const u32 target = target_of(column, target_ends);
    const T* target_shrunk = shrunk + (target - first_target) * TOKENS * stride;
    const u32 row = lane_id() / 4;
    const u32 quad = lane_id() % 4;
    float sums[4][4] = {};
    for (int slot = slots.next(); slot >= 0; slot = slots.next()) {
        const bool has_low = slots.of(row) == slot, has_high = slots.of(row + 8) == slot;
        const int rank = ranks[slot * targets + target];
        // Column `row` of mma `j` is column (row / 2) · 8 + 2 j + row % 2 of the warp, so that a lane
        // ends up with 8 neighbouring ones.
        const T* from = b + (u64(slot) * out_features + column + row / 2 * 8 + row % 2) * max_rank;
        for (int k = 0; k < rank; k += 16) {
            const u32 at = k + quad * 4;
            const T* x = target_shrunk + row * stride + at;
            const uint2 zero = make_uint2(0, 0);
            const uint2 low = has_low ? *reinterpret_cast<const uint2*>(x) : zero;
            const uint2 high = has_high ? *reinterpret_cast<const uint2*>(x + 8 * stride) : zero;
            const u32 pairs[4] = {low.x, high.x, low.y, high.y};
            const int count = rank - int(at);
#pragma unroll
            for (u32 j = 0; j < 4; ++j) {
                const T* weights = from + 2 * j * max_rank + at;
                const uint2 pair = *reinterpret_cast<const uint2*>(weights);
                mma_16x8x16<T>(sums[j], pairs, keep(pair.x, count), keep(pair.y, count - 2));
            }
        }
    }
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        const int slot = slots.of(row + i * 8);
        if (slot < 0) {
            continue;
        }
        const u64 at = u64(slot) * out_features + column + quad * VECTOR;
        T* to = out + u64(first + row + i * 8) * out_features + column + quad * VECTOR;
        float values[VECTOR];
        load(to, values);
        if (gains != nullptr) {
            float gain[VECTOR];
            load(gains + at, gain);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                values[j] *= gain[j];
            }
        }
        if (biases != nullptr) {
            float bias[VECTOR];
            load(biases + at, bias);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                values[j] += bias[j];
            }
        }
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            values[2 * j] += sums[j][2 * i];
            values[2 * j + 1] += sums[j][2 * i + 1];
        }
        store(to, values);
    }
}

}  // namespace lora_kernel

#define LORA(T, suffix)                                                                            \
    KERNEL(lora_kernel::THREADS, lora_shrink_##suffix, float* partial, const T* x, const T* a,     \
           const int* token_slots, const u32* ranks, const u32* live, u32 tokens_cap,              \
           u32 in_features, u32 targets, u32 max_rank) {                                           \
        lora_kernel::shrink(partial, x, a, token_slots, ranks, live, tokens_cap, in_features,      \
                            targets, max_rank);                                                    \
    }                                                                                              \
    KERNEL(lora_kernel::THREADS, lora_expand_##suffix, T* out, const float* partial, const T* b,   \
           const int* token_slots, const u32* ranks, const float* scales, const float* gains,      \
           const float* biases, const u32* target_ends, const u32* live, u32 tokens_cap,           \
           u32 out_features, u32 targets, u32 max_rank, u32 splits) {                              \
        lora_kernel::expand(out, partial, b, token_slots, ranks, scales, gains, biases,            \
                            target_ends, live, tokens_cap, out_features, targets, max_rank,        \
                            splits);                                                               \
    }

LORA(Bf16, bf16)
LORA(F16, f16)
#undef LORA
