// The common part of prefill and decode attention: a warp's online softmax over 16 rows of queries.
//
// A row is a query of one head. The heads that share a kv head are packed into the rows of one matrix,
// query by query: row = query · group + head in the group. In a decode step with 4 heads per kv head, a
// tensor-core tile therefore has 4 used rows instead of 1, and keys and values are read once per group.
//
// Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao,
// "FlashAttention-2", 2023; Ainslie et al., "GQA", 2023; Kwon et al., "Efficient Memory Management
// for Large Language Model Serving with PagedAttention", 2023.
#pragma once
#include "common.cuh"

namespace attention {

constexpr u32 MMA_ROWS = 16;
/// Number of tiles in shared memory: one is loaded while another is used.
constexpr u32 STAGES = 2;
constexpr float NEVER = -INFINITY;
constexpr float LOG2_E = 1.4426950408889634f;

/// The ragged batch, and the shape of the layer.
template <typename T> struct Batch {
    const T* qkv;             // [tokens, (heads + 2 kv_heads) · head_dim]
    const T* cache;           // [num_blocks, 2, kv_heads, block_size, head_dim]
    const u32* query_starts;  // [rows + 1]
    const u32* context_lens;  // [rows]
    const u32* block_tables;  // [rows, table_width]
    u32 kv_heads;
    u32 group;        // heads per kv head
    u32 block_size;   // a power of two
    u32 table_width;
    u32 window;       // 0: none
    float scale;
};

/// One sequence of the batch, for one kv head.
struct Sequence {
    u32 row;
    u32 kv_head;
    u32 first_query;  // row in qkv
    u32 queries;
    u32 context;

    template <typename T>
    __device__ Sequence(const Batch<T>& batch, u32 row, u32 kv_head)
        : row(row), kv_head(kv_head), first_query(batch.query_starts[row]),
          queries(batch.query_starts[row + 1] - first_query), context(batch.context_lens[row]) {}

    __device__ u32 position(u32 query) const { return context - queries + query; }

    /// The first position to which a query attends.
    __device__ u32 first_seen(u32 query, u32 window) const {
        const u32 end = position(query) + 1;
        return window == 0 || end < window ? 0 : end - window;
    }
};

/// Positions `from..to` of a sequence.
struct Span {
    u32 from;
    u32 to;
};

/// The address of the keys of `position` in the cache. The values follow at `values_offset`.
template <typename T, u32 D>
__device__ inline const T* cached_keys(const Batch<T>& batch, u32 page, u32 kv_head, u32 offset) {
    const u64 head = u64(page) * 2 * batch.kv_heads + kv_head;
    return batch.cache + (head * batch.block_size + offset) * D;
}

template <typename T, u32 D> __device__ inline u64 values_offset(const Batch<T>& batch) {
    return u64(batch.kv_heads) * batch.block_size * D;
}

/// The index of a chunk of 8 elements of a token in a tile in shared memory with D elements per token.
/// The chunks of a token are permuted so that the 8 rows of an 8 × 8 matrix are in different banks.
template <u32 D> __device__ inline u32 tile_index(u32 token, u32 chunk) {
    constexpr u32 CHUNKS = D / VECTOR;
    const u32 turn = CHUNKS % 8 == 0 ? token % 8 : token / 2 % 4;
    return (token * CHUNKS + (chunk ^ turn)) * VECTOR;
}

/// The 16 rows of a warp. A lane's row 0 is row `lane / 4`, its row 1 is row `lane / 4 + 8`.
template <typename T, u32 D> struct Rows {
    static_assert(D == 64 || D == 96 || D == 128, "the tile's banks are laid out for these");

    u32 queries[D / 16][4];
    /// Sums of values weighted by e^(score - highest), in the layout of the mma's accumulator.
    float sums[D / 8][4];
    /// The highest score so far, times log2(e).
    float highest[2];
    /// Sums of this lane's weights.
    float totals[2];
    /// Each row attends to the positions `begins[i]..ends[i]`.
    u32 begins[2];
    u32 ends[2];

    /// Loads the rows of a sequence from `first_row` on. Rows past the last one attend to no position.
    __device__ void load_queries(const Batch<T>& batch, const Sequence& sequence, u32 first_row) {
        const u32 heads = batch.kv_heads * batch.group;
        const u64 row_len = u64(heads + 2 * batch.kv_heads) * D;
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 row = first_row + lane_id() / 4 + i * 8;
            const u32 query = row / batch.group;
            const bool is_real = query < sequence.queries;
            begins[i] = is_real ? sequence.first_seen(query, batch.window) : 0;
            ends[i] = is_real ? sequence.position(query) + 1 : 0;
            const u32 head = sequence.kv_head * batch.group + row % batch.group;
            const T* from =
                batch.qkv + (sequence.first_query + query) * row_len + head * D + lane_id() % 4 * 2;
#pragma unroll
            for (u32 k = 0; k < D / 16; ++k) {
                queries[k][i] = is_real ? *reinterpret_cast<const u32*>(from + k * 16) : 0;
                queries[k][i + 2] = is_real ? *reinterpret_cast<const u32*>(from + k * 16 + 8) : 0;
            }
            highest[i] = NEVER;
            totals[i] = 0.0f;
        }
#pragma unroll
        for (u32 n = 0; n < D / 8; ++n) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                sums[n][e] = 0.0f;
            }
        }
    }

    /// Attends to `STEPS` · 16 tokens from `position` on. Their keys and values are tiles in shared
    /// memory. `scale` includes the factor log2(e). The values of masked tokens must be finite.
    template <u32 STEPS>
    __device__ void attend(const T* keys, const T* values, u32 position, float scale) {
        float scores[2 * STEPS][4];
        multiply_keys<STEPS>(scores, keys);
        mask_and_scale<STEPS>(scores, position, scale);
        weigh<STEPS>(scores);
        add_values<STEPS>(scores, values);
    }

    /// Adds up the weights of the four lanes of each row.
    __device__ void finish() {
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            totals[i] += __shfl_xor_sync(ALL_LANES, totals[i], 1);
            totals[i] += __shfl_xor_sync(ALL_LANES, totals[i], 2);
        }
    }

  private:
    template <u32 STEPS>
    __device__ void multiply_keys(float (&scores)[2 * STEPS][4], const T* keys) const {
#pragma unroll
        for (u32 n = 0; n < 2 * STEPS; ++n) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                scores[n][e] = 0.0f;
            }
        }
#pragma unroll
        for (u32 k = 0; k < D / 16; ++k) {
#pragma unroll
            for (u32 step = 0; step < STEPS; ++step) {
                const u32 token = step * 16 + lane_id() / 16 * 8 + lane_id() % 8;
                u32 pairs[4];
                ldmatrix_4(pairs, keys + tile_index<D>(token, 2 * k + lane_id() / 8 % 2));
                mma_16x8x16<T>(scores[2 * step], queries[k], pairs[0], pairs[1]);
                mma_16x8x16<T>(scores[2 * step + 1], queries[k], pairs[2], pairs[3]);
            }
        }
    }

    template <u32 STEPS>
    __device__ void
    mask_and_scale(float (&scores)[2 * STEPS][4], u32 position, float scale) const {
#pragma unroll
        for (u32 n = 0; n < 2 * STEPS; ++n) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                const u32 at = position + n * 8 + lane_id() % 4 * 2 + e % 2;
                const bool is_seen = at >= begins[e / 2] && at < ends[e / 2];
                scores[n][e] = is_seen ? scores[n][e] * scale : NEVER;
            }
        }
    }

    /// Converts scores to weights relative to the highest score so far.
    template <u32 STEPS> __device__ void weigh(float (&scores)[2 * STEPS][4]) {
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            float top = highest[i];
#pragma unroll
            for (u32 n = 0; n < 2 * STEPS; ++n) {
                top = fmaxf(top, fmaxf(scores[n][2 * i], scores[n][2 * i + 1]));
            }
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
            // A row with no token so far has no highest score to subtract.
            const float base = top == NEVER ? 0.0f : top;
            const float correction = fast_exp2(highest[i] - base);
            highest[i] = top;
            totals[i] *= correction;
#pragma unroll
            for (u32 n = 0; n < D / 8; ++n) {
                sums[n][2 * i] *= correction;
                sums[n][2 * i + 1] *= correction;
            }
#pragma unroll
            for (u32 n = 0; n < 2 * STEPS; ++n) {
#pragma unroll
                for (u32 e = 2 * i; e < 2 * i + 2; ++e) {
                    scores[n][e] = fast_exp2(scores[n][e] - base);
                    totals[i] += scores[n][e];
                }
            }
        }
    }

    /// The scores in the mma's result have the same layout as the weights in its left operand.
    template <u32 STEPS>
    __device__ void add_values(const float (&weights)[2 * STEPS][4], const T* values) {
#pragma unroll
        for (u32 step = 0; step < STEPS; ++step) {
            const float(&low)[4] = weights[2 * step];
            const float(&high)[4] = weights[2 * step + 1];
            const u32 pairs[4] = {
                pack<T>(low[0], low[1]), pack<T>(low[2], low[3]), pack<T>(high[0], high[1]),
                pack<T>(high[2], high[3])};
#pragma unroll
            for (u32 n = 0; n < D / 16; ++n) {
                const u32 token = step * 16 + lane_id() % 16;
                u32 columns[4];
                ldmatrix_4_transposed(
                    columns, values + tile_index<D>(token, 2 * n + lane_id() / 16));
                mma_16x8x16<T>(sums[2 * n], pairs, columns[0], columns[1]);
                mma_16x8x16<T>(sums[2 * n + 1], pairs, columns[2], columns[3]);
            }
        }
    }
};

/// Whether the decode kernel computes a sequence with this number of queries: its rows fit one tile.
__device__ inline bool is_decode(u32 queries, u32 group) {
    return queries > 0 && queries * group <= MMA_ROWS;
}

}  // namespace attention
