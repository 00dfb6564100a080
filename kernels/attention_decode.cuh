// Attention for sequences with few queries: a decode step.
//
// A block computes one split of one sequence and kv head. Its four warps take turns at tiles of 16
// tokens. Each warp has its own cp.async stages and its own online softmax, so no warp waits for another
// until the results are merged at the end. The kernel reads the length of a sequence and divides it into
// at most `splits` splits of whole 64-token tiles. The block that finishes last combines the splits.
#pragma once
#include "attention_rows.cuh"

namespace attention {

constexpr u32 DECODE_WARPS = 4;
constexpr u32 DECODE_THREADS = DECODE_WARPS * WARP_SIZE;
/// Tokens of a warp's tile: one page or half a page.
constexpr u32 DECODE_TOKENS = 16;
/// Number of tiles of a warp in shared memory: one is loaded while another is used.
constexpr u32 STAGES = 2;
/// The length of a split is a multiple of the number of tokens that a block reads at a time.
constexpr u32 SPLIT_TOKENS = DECODE_WARPS * DECODE_TOKENS;

/// The tiles of 16 tokens that one warp of a decode block reads.
template <typename T, u32 D> struct DecodeTiles {
    static constexpr u32 TILE = DECODE_TOKENS * D;

    const Batch<T>& batch;
    const Sequence& sequence;
    Span seen;   // positions to which any query of the sequence attends
    u32 next;    // position of the next tile to read
    u32 end;     // end of the split
    u32 page;    // page of `next`, loaded ahead of its use
    T* stages;   // [STAGES, 2 (keys, values), TILE]

    __device__ DecodeTiles(
        const Batch<T>& batch, const Sequence& sequence, Span seen, Span split, T* stages)
        : batch(batch), sequence(sequence), seen(seen),
          next(split.from + warp_id() * DECODE_TOKENS), end(split.to), page(0), stages(stages) {
        find_page();
    }

    __device__ T* stage(u32 index) const { return stages + index % STAGES * 2 * TILE; }

    /// Starts the copies of the next tile, if any, to a stage, and commits the group.
    __device__ void read(u32 index) {
        if (next < end) {
            const T* keys = cached_keys<T, D>(batch, page, sequence.kv_head, next % batch.block_size);
            const T* values = keys + values_offset<T, D>(batch);
            T* to = stage(index);
#pragma unroll
            for (u32 i = 0; i < D / 16; ++i) {
                const u32 vector = i * WARP_SIZE + lane_id();
                const u32 token = vector / (D / VECTOR), chunk = vector % (D / VECTOR);
                const u32 at = next + token;
                const bool is_seen = at >= seen.from && at < seen.to;
                const u32 index = tile_index<D>(token, chunk);
                cp_async_16(to + index, keys + vector * VECTOR, is_seen);
                cp_async_16(to + TILE + index, values + vector * VECTOR, is_seen);
            }
            next += SPLIT_TOKENS;
            find_page();
        }
        cp_async_commit();
    }

  private:
    __device__ void find_page() {
        if (next < end) {
            const u32 entry = next / batch.block_size;
            page = batch.block_tables[u64(sequence.row) * batch.table_width + entry];
        }
    }
};

/// The 16 rows of queries of a sequence, in registers.
template <typename T, u32 D> struct DecodeQueries {
    /// Registers have no index at run time.
    static constexpr u32 UNROLL = D / 16;

    u32 of[D / 16][4];
    u32 ends[2];

    __device__ DecodeQueries(const Batch<T>& batch, const Sequence& sequence) {
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 row = lane_id() / 4 + i * 8;
            ends[i] = sequence.row_end(row, batch.group);
            const bool is_real = ends[i] > 0;
            const T* from = query_of<T, D>(batch, sequence, row) + lane_id() % 4 * 2;
#pragma unroll
            for (u32 k = 0; k < D / 16; ++k) {
                of[k][i] = is_real ? *reinterpret_cast<const u32*>(from + k * 16) : 0;
                of[k][i + 2] = is_real ? *reinterpret_cast<const u32*>(from + k * 16 + 8) : 0;
            }
        }
    }

    __device__ void load(u32 (&operand)[4], u32, u32 k) const {
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            operand[i] = of[k][i];
        }
    }

    __device__ u32 end(u32 row) const { return ends[row / 8]; }
};

/// The partial results of the splits of each sequence and kv head.
struct Partials {
    float* out;    // [rows, kv_heads, splits, 16, D]
    float* stats;  // [rows, kv_heads, splits, 16, 2]
    u32* arrived;  // [rows, kv_heads]
};

/// Merges the rows of all warps of a decode block after their last tiles.
template <u32 D> struct Merge {
    /// Floats per row: not a multiple of the number of banks, so that rows begin in different banks.
    static constexpr u32 ROW = D + 8;

    float* sums;                                  // [warps, 16, ROW]
    float (&stats)[DECODE_WARPS][MMA_ROWS][2];

    template <typename T> __device__ void put(const Rows<T, D, 1>& rows, float scale) {
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 row = lane_id() / 4 + i * 8;
            if (lane_id() % 4 == 0) {
                stats[warp_id()][row][0] = rows.highest[i] * scale;
                stats[warp_id()][row][1] = rows.totals[i];
            }
            float* to = sums + (warp_id() * MMA_ROWS + row) * ROW + lane_id() % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < D / 8; ++n) {
                *reinterpret_cast<float2*>(to + n * 8) =
                    make_float2(rows.sums[0][n][2 * i], rows.sums[0][n][2 * i + 1]);
            }
        }
    }

    /// Merges the sums of 8 dimensions of a row. Returns the row's highest score and total weight.
    __device__ float2 get(u32 row, u32 dim, float (&merged)[VECTOR]) const {
        float top = NEVER;
#pragma unroll
        for (u32 warp = 0; warp < DECODE_WARPS; ++warp) {
            top = fmaxf(top, stats[warp][row][0]);
        }
        float total = 0.0f;
#pragma unroll
        for (u32 j = 0; j < VECTOR; ++j) {
            merged[j] = 0.0f;
        }
#pragma unroll
        for (u32 warp = 0; warp < DECODE_WARPS; ++warp) {
            const float highest = stats[warp][row][0];
            const float factor = highest == NEVER ? 0.0f : fast_exp2(highest - top);
            total += stats[warp][row][1] * factor;
            float part[VECTOR];
            load(sums + (warp * MMA_ROWS + row) * ROW + dim, part);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                merged[j] += part[j] * factor;
            }
        }
        return make_float2(top, total);
    }
};

/// Divides 8 dimensions of a packed row by the total weight and writes them.
template <typename T, u32 D>
__device__ inline void write_out(
    T* out, const Batch<T>& batch, const Sequence& sequence, u32 row, u32 dim,
    float (&sums)[VECTOR], float total) {
    const float factor = 1.0f / total;
#pragma unroll
    for (u32 j = 0; j < VECTOR; ++j) {
        sums[j] *= factor;
    }
    const u64 query = sequence.first_query + row / batch.group;
    const u32 head = sequence.kv_head * batch.group + row % batch.group;
    store(out + (query * batch.kv_heads * batch.group + head) * D + dim, sums);
}

/// Combines the splits of a sequence and kv head; the last block to arrive does it.
template <typename T, u32 D>
__device__ inline void combine(
    T* out, const Partials& partials, const Batch<T>& batch, const Sequence& sequence, u64 pair,
    u32 splits) {
    const float* sums = partials.out + pair * gridDim.z * MMA_ROWS * D;
    const float* stats = partials.stats + pair * gridDim.z * MMA_ROWS * 2;
    const u32 vectors = sequence.queries * batch.group * (D / VECTOR);
    for (u32 i = threadIdx.x; i < vectors; i += DECODE_THREADS) {
        const u32 row = i / (D / VECTOR), dim = i % (D / VECTOR) * VECTOR;
        float top = NEVER;
        for (u32 split = 0; split < splits; ++split) {
            top = fmaxf(top, stats[(split * MMA_ROWS + row) * 2]);
        }
        float total = 0.0f;
        float merged[VECTOR] = {};
        for (u32 split = 0; split < splits; ++split) {
            const u32 at = split * MMA_ROWS + row;
            const float highest = stats[at * 2];
            const float factor = highest == NEVER ? 0.0f : fast_exp2(highest - top);
            total += stats[at * 2 + 1] * factor;
            float part[VECTOR];
            load(sums + at * D + dim, part);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                merged[j] += part[j] * factor;
            }
        }
        write_out<T, D>(out, batch, sequence, row, dim, merged, total);
    }
}

template <typename T, u32 D>
__device__ inline void
decode(T* out, const Partials& partials, const Batch<T>& batch, const u32* live) {
    if (blockIdx.x >= *live) {
        return;
    }
    const Sequence sequence(batch, blockIdx.x, blockIdx.y);
    if (!is_decode(sequence.queries, batch.group)) {
        return;
    }
    const Span seen = {sequence.first_seen(0, batch.window), sequence.context};
    // Tiles begin at the start or the middle of a page.
    const u32 begin = seen.from / DECODE_TOKENS * DECODE_TOKENS;
    const u32 tiles = ceil_div(seen.to - begin, SPLIT_TOKENS);
    const u32 split_len = ceil_div(tiles, gridDim.z) * SPLIT_TOKENS;
    const u32 splits = ceil_div(seen.to - begin, split_len);
    if (blockIdx.z >= splits) {
        return;
    }
    const u32 from = begin + blockIdx.z * split_len;
    const Span split = {from, min(from + split_len, seen.to)};

    DYNAMIC_SHARED(shared);
    constexpr u32 TILE = DecodeTiles<T, D>::TILE;
    T* stages = reinterpret_cast<T*>(shared) + warp_id() * STAGES * 2 * TILE;
    DecodeTiles<T, D> tiles_ahead(batch, sequence, seen, split, stages);
    tiles_ahead.read(0);
    const DecodeQueries<T, D> queries(batch, sequence);
    Rows<T, D, 1> rows;
    const float scale = batch.scale * LOG2_E;
    u32 index = 0;
    for (u32 at = split.from + warp_id() * DECODE_TOKENS; at < split.to; at += SPLIT_TOKENS) {
        tiles_ahead.read(index + 1);
        cp_async_wait<1>();
        __syncwarp();
        const T* keys = tiles_ahead.stage(index);
        typename Rows<T, D, 1>::template Scores<1> scores;
        scores.multiply(queries, keys);
        rows.mask(scores, queries, at, batch.window);
        rows.add(rows.weigh(scores, scale), keys + TILE);
        __syncwarp();
        ++index;
    }
    rows.finish();

    // The sums reuse the shared memory of the stages.
    cp_async_wait<0>();
    __syncthreads();
    __shared__ float stats[DECODE_WARPS][MMA_ROWS][2];
    Merge<D> merge = {reinterpret_cast<float*>(shared), stats};
    merge.put(rows, scale);
    __syncthreads();

    const u64 pair = u64(sequence.row) * batch.kv_heads + sequence.kv_head;
    const u64 part = pair * gridDim.z + blockIdx.z;
    const u32 vectors = sequence.queries * batch.group * (D / VECTOR);
    for (u32 i = threadIdx.x; i < vectors; i += DECODE_THREADS) {
        const u32 row = i / (D / VECTOR), dim = i % (D / VECTOR) * VECTOR;
        float merged[VECTOR];
        const float2 stat = merge.get(row, dim, merged);
        if (splits == 1) {
            write_out<T, D>(out, batch, sequence, row, dim, merged, stat.y);
            continue;
        }
        const u64 at = part * MMA_ROWS + row;
        float4* to = reinterpret_cast<float4*>(partials.out + at * D + dim);
        to[0] = make_float4(merged[0], merged[1], merged[2], merged[3]);
        to[1] = make_float4(merged[4], merged[5], merged[6], merged[7]);
        if (dim == 0) {
            *reinterpret_cast<float2*>(partials.stats + at * 2) = stat;
        }
    }
    if (splits == 1) {
        return;
    }

    if (is_last_of(partials.arrived + pair, splits)) {
        combine<T, D>(out, partials, batch, sequence, pair, splits);
    }
}

}  // namespace attention
