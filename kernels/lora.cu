// LoRA adapters: out = gain ⊙ out + bias + scale · B (A x). Each row has its own adapter, and a batch
// may contain any mix of adapters.
//
// One launch serves one fused linear layer with `targets` parts (query, key and value; gate and up).
// Target `t` has the columns target_ends[t - 1]..target_ends[t] of out, which are multiples of 32. Each
// adapter is in a slot of the pool. The pool's arrays on the device are
//   a: T [slots, targets · max_rank, in_features]; the A matrix of target t begins at row t · max_rank,
//   b: T [slots, out_features, max_rank],
//   ranks: u32 [slots, targets], at most max_rank, and 0 if an adapter does not change a target,
//   scales: f32 [slots, targets],
//   gains and biases: f32 [slots, out_features]; either is null if no adapter has any.
// Values past an adapter's rank are never used. max_rank is a multiple of 16, in_features of 32.
//
// The tokens of an adapter are contiguous. They are divided into tiles of at most 16 tokens.
// tiles: u32 [tiles, 4] holds each tile's slot, first token and number of tokens, which is 0 for an
// unused tile. Each block serves one adapter, so a mix of adapters takes no more sequential steps than
// a single adapter.
//
// Shrink: shrunk = scale · A x, T [tiles · 16, targets · max_rank]. A block computes one tile by 16
// ranks over one part of the inputs. Its four warps take turns at 32 inputs. It writes its sums to
// partial: f32 [tiles, targets · max_rank / 16, splits, 16, 16]. The last of the splits adds them up.
// arrived: u32 [tiles, targets · max_rank / 16] counts the finished blocks and is zero between launches.
// Launch: grid (tiles, targets · max_rank / 16, splits), 128 threads.
//
// Expand: applies gain, bias and B · shrunk to out [tokens, out_features]. A block computes one tile by
// 128 columns, 32 columns per warp. Launch: grid (tiles, ceil(out_features / 128)), 128 threads.
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
/// Inputs that a warp multiplies at a time: 8 per lane, so that a lane loads 16 bytes.
constexpr u32 INPUTS = 32;
/// Columns per warp of the expand kernel: 8 per lane.
constexpr u32 COLUMNS = 32;
constexpr u32 BLOCK_COLUMNS = WARPS * COLUMNS;

/// Contiguous tokens of one adapter.
struct Tile {
    u32 slot;
    u32 first;
    u32 count;

    __device__ Tile(const u32* tiles, u32 index) {
        const uint4 words = reinterpret_cast<const uint4*>(tiles)[index];
        slot = words.x, first = words.y, count = words.z;
    }
};

/// Uses the pairs of a vector as operands of two mma steps. The inputs of a sum may be in any order, if
/// the order is the same for both operands.
template <typename T>
__device__ inline void multiply_add(float (&c)[4], uint4 low, uint4 high, uint4 b) {
    const u32 first[4] = {low.x, high.x, low.y, high.y};
    const u32 second[4] = {low.z, high.z, low.w, high.w};
    mma_16x8x16<T>(c, first, b.x, b.y);
    mma_16x8x16<T>(c, second, b.z, b.w);
}

template <typename T>
__device__ inline void shrink(
    T* __restrict__ shrunk, float* __restrict__ partial, u32* __restrict__ arrived,
    const T* __restrict__ x, const T* __restrict__ a, const u32* __restrict__ tiles,
    const u32* __restrict__ ranks, const float* __restrict__ scales, u32 in_features, u32 targets,
    u32 max_rank) {
    const Tile tile(tiles, blockIdx.x);
    if (tile.count == 0) {
        return;
    }
    const u32 row_len = targets * max_rank;
    const u32 first_rank = blockIdx.y * RANKS;
    const u32 of_target = tile.slot * targets + first_rank / max_rank;
    const int rank_left = int(ranks[of_target]) - int(first_rank % max_rank);
    if (rank_left <= 0) {
        return;
    }
    const float scale = scales[of_target];
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const u32 row = lane_id() / 4;

    // The number of turns of INPUTS differs by at most one between splits.
    const u32 turns = in_features / INPUTS;
    const u32 begin = u64(turns) * blockIdx.z / gridDim.z;
    const u32 end = u64(turns) * (blockIdx.z + 1) / gridDim.z;

    const bool has_low = row < tile.count, has_high = row + 8 < tile.count;
    const u32 offset = lane_id() % 4 * VECTOR;
    const T* x_low = x + u64(tile.first + row) * in_features + offset;
    const T* x_high = x_low + 8 * u64(in_features);
    const T* a_low = a + (u64(tile.slot) * row_len + first_rank + row) * in_features + offset;
    const T* a_high = a_low + 8 * u64(in_features);
    float sums[2][4] = {};
#pragma unroll 4
    for (u32 turn = begin + warp_id(); turn < end; turn += WARPS) {
        const u64 i = u64(turn) * INPUTS;
        const uint4 low = has_low ? load_vector(x_low + i) : zero;
        const uint4 high = has_high ? load_vector(x_high + i) : zero;
        const uint4 b_low = int(row) < rank_left ? load_vector(a_low + i) : zero;
        const uint4 b_high = int(row) + 8 < rank_left ? load_vector(a_high + i) : zero;
        multiply_add<T>(sums[0], low, high, b_low);
        multiply_add<T>(sums[1], low, high, b_high);
    }

    __shared__ float warp_sums[WARPS][TOKENS][RANKS + 1];
#pragma unroll
    for (u32 e = 0; e < 4; ++e) {
        const u32 token = row + e / 2 * 8, column = lane_id() % 4 * 2 + e % 2;
        warp_sums[warp_id()][token][column] = sums[0][e];
        warp_sums[warp_id()][token][column + 8] = sums[1][e];
    }
    __syncthreads();
    // Each thread sums two adjacent ranks of one token.
    const u32 token = threadIdx.x / (RANKS / 2), column = threadIdx.x % (RANKS / 2) * 2;
    float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll
    for (u32 warp = 0; warp < WARPS; ++warp) {
        sum.x += warp_sums[warp][token][column];
        sum.y += warp_sums[warp][token][column + 1];
    }
    if (gridDim.z > 1) {
        const u32 place = blockIdx.x * gridDim.y + blockIdx.y;
        float2* parts = reinterpret_cast<float2*>(partial) + u64(place) * gridDim.z * THREADS;
        parts[blockIdx.z * THREADS + threadIdx.x] = sum;
        if (!is_last_of(arrived + place, gridDim.z)) {
            return;
        }
        // The order of the sum does not depend on which block is last.
        sum = make_float2(0.0f, 0.0f);
#pragma unroll 8
        for (u32 split = 0; split < gridDim.z; ++split) {
            const float2 part = parts[split * THREADS + threadIdx.x];
            sum.x += part.x, sum.y += part.y;
        }
    }
    const u64 at = u64(blockIdx.x * TOKENS + token) * row_len + first_rank + column;
    *reinterpret_cast<u32*>(shrunk + at) = pack<T>(sum.x * scale, sum.y * scale);
}

/// The first `count` values of a pair; the others are zero.
__device__ inline u32 keep(u32 pair, int count) {
    return count >= 2 ? pair : count == 1 ? pair & 0xffffu : 0;
}

/// The target that contains a column.
__device__ inline u32 target_of(u32 column, const u32* target_ends) {
    u32 target = 0;
    while (column >= target_ends[target]) {
        ++target;
    }
    return target;
}

template <typename T>
__device__ inline void expand(
    T* __restrict__ out, const T* __restrict__ shrunk, const T* __restrict__ b,
    const u32* __restrict__ tiles, const u32* __restrict__ ranks, const float* __restrict__ gains,
    const float* __restrict__ biases, const u32* __restrict__ target_ends, u32 out_features,
    u32 targets, u32 max_rank) {
    const Tile tile(tiles, blockIdx.x);
    const u32 column = blockIdx.y * BLOCK_COLUMNS + warp_id() * COLUMNS;
    if (tile.count == 0 || column >= out_features) {
        return;
    }
    const u32 target = target_of(column, target_ends);
    const int rank = ranks[tile.slot * targets + target];
    const u32 row = lane_id() / 4;
    const u32 quad = lane_id() % 4;
    const u64 first_out = u64(tile.first + row) * out_features + column + quad * VECTOR;
    const bool is_live[2] = {row < tile.count, row + 8 < tile.count};
    // Loaded before the product, so that this load overlaps with the loads of the product's operands.
    uint4 outs[2];
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        if (is_live[i]) {
            outs[i] = load_vector(out + first_out + i * 8 * u64(out_features));
        }
    }

    // Column `row` of mma `j` is column (row / 2) · 8 + 2 j + row % 2 of the warp, so that a lane
    // gets 8 adjacent columns.
    const T* weights =
        b + (u64(tile.slot) * out_features + column + row / 2 * 8 + row % 2) * max_rank + quad * 4;
    const u64 row_len = targets * max_rank;
    const T* x = shrunk + (blockIdx.x * TOKENS + row) * row_len + target * max_rank + quad * 4;
    float sums[4][4] = {};
#pragma unroll 2
    for (int k = 0; k < rank; k += 16) {
        const uint2 low = *reinterpret_cast<const uint2*>(x + k);
        const uint2 high = *reinterpret_cast<const uint2*>(x + 8 * row_len + k);
        const u32 pairs[4] = {low.x, high.x, low.y, high.y};
        const int count = rank - int(k + quad * 4);
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            const uint2 pair = *reinterpret_cast<const uint2*>(weights + 2 * j * max_rank + k);
            mma_16x8x16<T>(sums[j], pairs, keep(pair.x, count), keep(pair.y, count - 2));
        }
    }
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        if (!is_live[i]) {
            continue;
        }
        const u64 at = u64(tile.slot) * out_features + column + quad * VECTOR;
        float values[VECTOR];
        unpack_vector<T>(outs[i], values);
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
        store(out + first_out + i * 8 * u64(out_features), values);
    }
}

}  // namespace lora_kernel

#define LORA(T, suffix)                                                                            \
    KERNEL(lora_kernel::THREADS, lora_shrink_##suffix, T* shrunk, float* partial, u32* arrived,    \
           const T* x, const T* a, const u32* tiles, const u32* ranks, const float* scales,        \
           u32 in_features, u32 targets, u32 max_rank) {                                           \
        lora_kernel::shrink(shrunk, partial, arrived, x, a, tiles, ranks, scales, in_features,     \
                            targets, max_rank);                                                    \
    }                                                                                              \
    KERNEL(lora_kernel::THREADS, lora_expand_##suffix, T* out, const T* shrunk, const T* b,        \
           const u32* tiles, const u32* ranks, const float* gains, const float* biases,            \
           const u32* target_ends, u32 out_features, u32 targets, u32 max_rank) {                  \
        lora_kernel::expand(out, shrunk, b, tiles, ranks, gains, biases, target_ends,              \
                            out_features, targets, max_rank);                                      \
    }

LORA(Bf16, bf16)
LORA(F16, f16)
#undef LORA
