// The common part of prefill and decode attention: a warp's online softmax over its rows of queries.
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

    /// The end of the positions to which a row attends. Rows past the last one attend to none.
    __device__ u32 row_end(u32 row, u32 group) const {
        const u32 query = row / group;
        return query < queries ? position(query) + 1 : 0;
    }

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

/// The address of a packed row's query.
template <typename T, u32 D>
__device__ inline const T* query_of(const Batch<T>& batch, const Sequence& sequence, u32 row) {
    const u32 heads = batch.kv_heads * batch.group;
    const u32 head = sequence.kv_head * batch.group + row % batch.group;
    const u64 token = sequence.first_query + row / batch.group;
    return batch.qkv + (token * (heads + 2 * batch.kv_heads) + head) * D;
}

/// The index of a chunk of 8 elements of a token in a tile in shared memory with D elements per token.
/// The chunks of a token are permuted so that the 8 rows of an 8 × 8 matrix are in different banks.
template <u32 D> __device__ inline u32 tile_index(u32 token, u32 chunk) {
    constexpr u32 CHUNKS = D / VECTOR;
    const u32 turn = CHUNKS % 8 == 0 ? token % 8 : token / 2 % 4;
    return (token * CHUNKS + (chunk ^ turn)) * VECTOR;
}

/// The rows of a warp: `M` tiles of 16. A lane has `2 M` of them: its row `i` is row
/// `16 (i / 2) + 8 (i % 2) + lane / 4`.
template <typename T, u32 D, u32 M> struct Rows {
    static_assert(D == 64 || D == 96 || D == 128, "the tile's banks are laid out for these");

    /// Sums of values weighted by e^(scale · (score - highest)), in the layout of the mma's accumulator.
    float sums[M][D / 8][4];
    /// The highest score so far.
    float highest[2 * M];
    /// Sums of this lane's weights.
    float totals[2 * M];

    /// Starts with rows that have attended to nothing yet.
    __device__ Rows() {
#pragma unroll
        for (u32 i = 0; i < 2 * M; ++i) {
            highest[i] = NEVER;
            totals[i] = 0.0f;
        }
#pragma unroll
        for (u32 m = 0; m < M; ++m) {
#pragma unroll
            for (u32 n = 0; n < D / 8; ++n) {
#pragma unroll
                for (u32 e = 0; e < 4; ++e) {
                    sums[m][n][e] = 0.0f;
                }
            }
        }
    }

    __device__ static u32 lane_row(u32 i) {
        return i / 2 * MMA_ROWS + i % 2 * 8 + lane_id() / 4;
    }

    /// The scores of `STEPS` · 16 tokens.
    template <u32 STEPS> struct Scores {
        float of[M][2 * STEPS][4];

        /// The keys are a tile in shared memory. `queries.load(a, m, k)` loads the left operand of an mma:
        /// the dimensions `16 k..16 (k + 1)` of tile `m`'s rows.
        template <typename Q> __device__ void multiply(const Q& queries, const T* keys) {
#pragma unroll
            for (u32 m = 0; m < M; ++m) {
#pragma unroll
                for (u32 n = 0; n < 2 * STEPS; ++n) {
#pragma unroll
                    for (u32 e = 0; e < 4; ++e) {
                        of[m][n][e] = 0.0f;
                    }
                }
            }
#pragma unroll Q::UNROLL
            for (u32 k = 0; k < D / 16; ++k) {
                u32 rows[M][4];
#pragma unroll
                for (u32 m = 0; m < M; ++m) {
                    queries.load(rows[m], m, k);
                }
#pragma unroll
                for (u32 step = 0; step < STEPS; ++step) {
                    const u32 token = step * 16 + lane_id() / 16 * 8 + lane_id() % 8;
                    u32 pairs[4];
                    ldmatrix_4(pairs, keys + tile_index<D>(token, 2 * k + lane_id() / 8 % 2));
#pragma unroll
                    for (u32 m = 0; m < M; ++m) {
                        mma_16x8x16<T>(of[m][2 * step], rows[m], pairs[0], pairs[1]);
                        mma_16x8x16<T>(of[m][2 * step + 1], rows[m], pairs[2], pairs[3]);
                    }
                }
            }
        }
    };

    /// Removes the scores of tokens that a row does not attend to. The first token is at `position`. Row
    /// `i` attends to the positions before `queries.end(lane_row(i))`, within the window.
    template <u32 STEPS, typename Q>
    __device__ static void
    mask(Scores<STEPS>& scores, const Q& queries, u32 position, u32 window) {
        const u32 first = position + lane_id() % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < 2 * M; ++i) {
            // The row attends to the tokens `begin..end` after the lane's first one.
            const u32 end = max(queries.end(lane_row(i)), first) - first;
            const u32 begin = window != 0 && end > window ? end - window : 0;
#pragma unroll
            for (u32 n = 0; n < 2 * STEPS; ++n) {
#pragma unroll
                for (u32 e = 0; e < 2; ++e) {
                    if (n * 8 + e < begin || n * 8 + e >= end) {
                        scores.of[i / 2][n][i % 2 * 2 + e] = NEVER;
                    }
                }
            }
        }
    }

    /// Weights of `STEPS` · 16 tokens, as left operands of mmas. The scores in an mma's result have the
    /// same layout.
    template <u32 STEPS> struct Weights {
        u32 of[M][STEPS][4];
    };

    /// Converts scores to weights relative to the highest score so far. `scale` is the factor of a score,
    /// times log2(e), and positive.
    template <u32 STEPS> __device__ Weights<STEPS> weigh(Scores<STEPS>& scores, float scale) {
        float corrections[2 * M];
        bool is_higher = false;
#pragma unroll
        for (u32 i = 0; i < 2 * M; ++i) {
            const float(&own)[2 * STEPS][4] = scores.of[i / 2];
            float top = highest[i];
#pragma unroll
            for (u32 n = 0; n < 2 * STEPS; ++n) {
                top = fmaxf(top, fmaxf(own[n][i % 2 * 2], own[n][i % 2 * 2 + 1]));
            }
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
            is_higher |= top > highest[i];
            corrections[i] = fast_exp2(highest[i] * scale - base_of(top, scale));
            highest[i] = top;
        }
        // After the first tiles, most have no higher score.
        if (__any_sync(ALL_LANES, is_higher)) {
            correct(corrections);
        }
        Weights<STEPS> weights;
#pragma unroll
        for (u32 m = 0; m < M; ++m) {
            const float bases[2] = {
                base_of(highest[2 * m], scale), base_of(highest[2 * m + 1], scale)};
#pragma unroll
            for (u32 n = 0; n < 2 * STEPS; ++n) {
                float(&own)[4] = scores.of[m][n];
#pragma unroll
                for (u32 e = 0; e < 4; ++e) {
                    own[e] = fast_exp2(own[e] * scale - bases[e / 2]);
                    totals[2 * m + e / 2] += own[e];
                }
                weights.of[m][n / 2][n % 2 * 2] = pack<T>(own[0], own[1]);
                weights.of[m][n / 2][n % 2 * 2 + 1] = pack<T>(own[2], own[3]);
            }
        }
        return weights;
    }

    /// Adds the values of a tile in shared memory. The values of masked tokens must be finite.
    template <u32 STEPS> __device__ void add(const Weights<STEPS>& weights, const T* values) {
#pragma unroll
        for (u32 step = 0; step < STEPS; ++step) {
#pragma unroll
            for (u32 n = 0; n < D / 16; ++n) {
                const u32 token = step * 16 + lane_id() % 16;
                u32 columns[4];
                ldmatrix_4_transposed(
                    columns, values + tile_index<D>(token, 2 * n + lane_id() / 16));
#pragma unroll
                for (u32 m = 0; m < M; ++m) {
                    const u32(&rows)[4] = weights.of[m][step];
                    mma_16x8x16<T>(sums[m][2 * n], rows, columns[0], columns[1]);
                    mma_16x8x16<T>(sums[m][2 * n + 1], rows, columns[2], columns[3]);
                }
            }
        }
    }

    /// Adds up the weights of the four lanes of each row.
    __device__ void finish() {
#pragma unroll
        for (u32 i = 0; i < 2 * M; ++i) {
            totals[i] += __shfl_xor_sync(ALL_LANES, totals[i], 1);
            totals[i] += __shfl_xor_sync(ALL_LANES, totals[i], 2);
        }
    }

  private:
    /// What is subtracted from the scaled scores: nothing if a row has seen no token.
    __device__ static float base_of(float top, float scale) {
        return top == NEVER ? 0.0f : top * scale;
    }

    __device__ void correct(const float (&corrections)[2 * M]) {
#pragma unroll
        for (u32 i = 0; i < 2 * M; ++i) {
            totals[i] *= corrections[i];
#pragma unroll
            for (u32 n = 0; n < D / 8; ++n) {
                sums[i / 2][n][i % 2 * 2] *= corrections[i];
                sums[i / 2][n][i % 2 * 2 + 1] *= corrections[i];
            }
        }
    }
};

/// Whether the decode kernel computes a sequence with this number of queries: its rows fit one tile.
__device__ inline bool is_decode(u32 queries, u32 group) {
    return queries > 0 && queries * group <= MMA_ROWS;
}

}  // namespace attention
