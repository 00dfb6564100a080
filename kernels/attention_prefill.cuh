// Attention for sequences with many queries: prompts, whole or in chunks.
//
// A block computes 128 rows (queries · group, packed) of one sequence and kv head, 16 rows per warp,
// over tiles of 64 tokens in two stages. A block finds its sequence by counting tiles.
#pragma once
#include "attention_rows.cuh"

namespace attention {

constexpr u32 PREFILL_WARPS = 8;
constexpr u32 PREFILL_THREADS = PREFILL_WARPS * WARP_SIZE;
constexpr u32 PREFILL_ROWS = PREFILL_WARPS * MMA_ROWS;
constexpr u32 PREFILL_TOKENS = 64;

/// Number of tiles of 128 rows into which the prefill kernel divides a sequence.
template <typename T> __device__ inline u32 prefill_tiles(const Batch<T>& batch, u32 row) {
    const u32 queries = batch.query_starts[row + 1] - batch.query_starts[row];
    if (is_decode(queries, batch.group)) {
        return 0;
    }
    return ceil_div(queries * batch.group, PREFILL_ROWS);
}

/// The sequence of a tile and the tile's index in it. Every warp looks it up independently.
struct PrefillTile {
    u32 row;
    u32 tile;
    bool is_found;

    template <typename T>
    __device__ PrefillTile(const Batch<T>& batch, u32 rows, u32 index)
        : row(0), tile(index), is_found(false) {
        for (u32 base = 0; base < rows && !is_found; base += WARP_SIZE) {
            const u32 own = base + lane_id();
            const u32 tiles = own < rows ? prefill_tiles(batch, own) : 0;
            u32 end = tiles;
#pragma unroll
            for (u32 distance = 1; distance < WARP_SIZE; distance *= 2) {
                const u32 below = __shfl_up_sync(ALL_LANES, end, distance);
                end += lane_id() >= distance ? below : 0;
            }
            const u32 beyond = __ballot_sync(ALL_LANES, end > tile);
            if (beyond != 0) {
                const u32 owner = __ffs(beyond) - 1;
                row = base + owner;
                tile -= __shfl_sync(ALL_LANES, end - tiles, owner);
                is_found = true;
            } else {
                tile -= __shfl_sync(ALL_LANES, end, WARP_SIZE - 1);
            }
        }
    }
};

/// Starts to copy 64 tokens of keys and values, beginning at `position`. The whole block takes part.
template <typename T, u32 D>
__device__ inline void read_prefill_tile(
    T* keys, const Batch<T>& batch, const Sequence& sequence, Span seen, u32 position) {
    constexpr u32 CHUNKS = D / VECTOR;
    T* values = keys + PREFILL_TOKENS * D;
    const u64 to_values = values_offset<T, D>(batch);
#pragma unroll
    for (u32 i = 0; i < PREFILL_TOKENS * CHUNKS / PREFILL_THREADS; ++i) {
        const u32 vector = i * PREFILL_THREADS + threadIdx.x;
        const u32 token = vector / CHUNKS, chunk = vector % CHUNKS;
        const u32 at = position + token;
        const bool is_seen = at >= seen.from && at < seen.to;
        const T* from = batch.cache;
        if (is_seen) {
            const u64 entry = u64(sequence.row) * batch.table_width + at / batch.block_size;
            const u32 page = batch.block_tables[entry];
            from = cached_keys<T, D>(batch, page, sequence.kv_head, at % batch.block_size) +
                   chunk * VECTOR;
        }
        const u32 index = tile_index<D>(token, chunk);
        cp_async_16(keys + index, from, is_seen);
        cp_async_16(values + index, is_seen ? from + to_values : from, is_seen);
    }
}

template <typename T, u32 D>
__device__ inline void prefill(T* out, const Batch<T>& batch, const u32* live) {
    const PrefillTile tile(batch, *live, blockIdx.x);
    if (!tile.is_found) {
        return;
    }
    const Sequence sequence(batch, tile.row, blockIdx.y);
    const u32 first_row = tile.tile * PREFILL_ROWS;
    const u32 first_query = first_row / batch.group;
    const u32 last_query =
        min((first_row + PREFILL_ROWS - 1) / batch.group, sequence.queries - 1);
    const Span seen = {
        sequence.first_seen(first_query, batch.window), sequence.position(last_query) + 1};

    DYNAMIC_SHARED(shared);
    constexpr u32 STAGE = 2 * PREFILL_TOKENS * D;
    T* stages = reinterpret_cast<T*>(shared);
    const u32 begin = seen.from / PREFILL_TOKENS * PREFILL_TOKENS;
    read_prefill_tile<T, D>(stages, batch, sequence, seen, begin);
    cp_async_commit();
    Rows<T, D> rows;
    rows.load_queries(batch, sequence, first_row + warp_id() * MMA_ROWS);
    const float scale = batch.scale * LOG2_E;
    u32 index = 0;
    for (u32 at = begin; at < seen.to; at += PREFILL_TOKENS) {
        if (at + PREFILL_TOKENS < seen.to) {
            T* next = stages + (index + 1) % STAGES * STAGE;
            read_prefill_tile<T, D>(next, batch, sequence, seen, at + PREFILL_TOKENS);
        }
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        const T* keys = stages + index % STAGES * STAGE;
        rows.template attend<PREFILL_TOKENS / 16>(keys, keys + PREFILL_TOKENS * D, at, scale);
        __syncthreads();
        ++index;
    }
    rows.finish();

    const u32 heads = batch.kv_heads * batch.group;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        const u32 row = first_row + warp_id() * MMA_ROWS + lane_id() / 4 + i * 8;
        if (row >= sequence.queries * batch.group) {
            continue;
        }
        const float factor = 1.0f / rows.totals[i];
        const u64 query = sequence.first_query + row / batch.group;
        const u32 head = sequence.kv_head * batch.group + row % batch.group;
        T* to = out + (query * heads + head) * D + lane_id() % 4 * 2;
#pragma unroll
        for (u32 n = 0; n < D / 8; ++n) {
            *reinterpret_cast<u32*>(to + n * 8) =
                pack<T>(rows.sums[n][2 * i] * factor, rows.sums[n][2 * i + 1] * factor);
        }
    }
}

}  // namespace attention
