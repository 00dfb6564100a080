// Causal attention over a paged cache: out = softmax(scale · Q Kᵀ) V, a ragged batch at once.
//
// qkv T [tokens, (heads + 2 kv_heads) · head_dim] holds the queries, cache T [num_blocks, 2 (keys,
// values), kv_heads, block_size, head_dim] the keys and values, out is T [tokens, heads · head_dim];
// head_dim 64, 96 or 128, block_size 16 or 32, at most 16 heads a kv head. Sequence `r` has the
// queries query_starts[r]..query_starts[r + 1], the last of them at position context_lens[r] - 1;
// block_tables u32 [rows, table_width] names its pages. A query at `i` sees the keys at `j <= i`,
// with a window only those with `i - j < window`. Pages may hold anything where no query looks:
// such values are replaced by zeros on their way in, since a weight of zero doesn't hide a NaN.
//
// Two kernels share the batch, and each sequence belongs to one of them by its number of queries:
// - decode takes sequences whose queries · group fit the 16 rows of a tensor-core tile;
// - prefill takes those with more.
//
// Decode: a block does one split of one sequence and kv head. Its four warps take turns at 16
// tokens, each with its own stages of cp.async and its own running softmax, so that no warp waits
// for another before they are merged at the end. A sequence is cut by its length, which is read
// here, into as many as `splits` pieces of whole 64-token tiles; the block that finishes last
// combines them. Launch: grid (rows, kv_heads, splits), 128 threads, 512 · head_dim bytes.
// partial_out f32 [rows, kv_heads, splits, 16, head_dim], partial_stats f32 [rows, kv_heads, splits,
// 16, 2] (highest score, total weight), arrived u32 [rows, kv_heads], zero before and after.
//
// Prefill: a block does 128 rows (queries · group, packed) of one sequence and kv head, 16 rows a
// warp, over tiles of 64 tokens in two stages. Blocks find their sequence by counting tiles.
// Launch: grid (at least Σ ceil(queries · group / 128) over its sequences, kv_heads), 256 threads,
// 512 · head_dim bytes.
#include "attention_rows.cuh"

namespace paged_attention_kernel {

using namespace attention;

constexpr u32 STAGES = 2;

constexpr u32 DECODE_WARPS = 4;
constexpr u32 DECODE_THREADS = DECODE_WARPS * WARP_SIZE;
/// Tokens of a warp's tile: one page, or half of one.
constexpr u32 DECODE_TOKENS = 16;
/// Splits are cut at multiples of what a block reads at once.
constexpr u32 SPLIT_TOKENS = DECODE_WARPS * DECODE_TOKENS;

constexpr u32 PREFILL_WARPS = 8;
constexpr u32 PREFILL_THREADS = PREFILL_WARPS * WARP_SIZE;
constexpr u32 PREFILL_ROWS = PREFILL_WARPS * MMA_ROWS;
constexpr u32 PREFILL_TOKENS = 64;

/// Positions `from..to` of a sequence.
struct Span {
    u32 from;
    u32 to;
};

/// The tiles of 16 tokens that one warp of a decode block reads.
template <typename T, u32 D> struct DecodeTiles {
    static constexpr u32 TILE = DECODE_TOKENS * D;

    const Batch<T>& batch;
    const Sequence& sequence;
    Span seen;   // by any query of the sequence
    u32 next;    // position of the tile to be read next
    u32 end;     // of the split
    u32 page;    // of `next`, asked for before it is needed
    T* stages;   // [STAGES, 2 (keys, values), TILE]

    __device__ DecodeTiles(
        const Batch<T>& batch, const Sequence& sequence, Span seen, Span split, T* stages)
        : batch(batch), sequence(sequence), seen(seen),
          next(split.from + warp_id() * DECODE_TOKENS), end(split.to), page(0), stages(stages) {
        find_page();
    }

    __device__ T* stage(u32 index) const { return stages + index % STAGES * 2 * TILE; }

    /// Starts to read the next tile into a stage, if there is one, and closes the group.
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

/// Where the splits of a sequence and kv head leave their parts.
struct Partials {
    float* out;    // [rows, kv_heads, splits, 16, D]
    float* stats;  // [rows, kv_heads, splits, 16, 2]
    u32* arrived;  // [rows, kv_heads]
};

/// The rows of all warps of a decode block, after the last of their tiles.
template <u32 D> struct Merge {
    /// Floats a row: not a multiple of the banks, so that rows lie in different ones.
    static constexpr u32 ROW = D + 8;

    float* sums;                                  // [warps, 16, ROW]
    float (&stats)[DECODE_WARPS][MMA_ROWS][2];

    template <typename T> __device__ void put(const Rows<T, D>& rows) {
#pragma unroll
        for (u32 i = 0; i < 2; ++i) {
            const u32 row = lane_id() / 4 + i * 8;
            if (lane_id() % 4 == 0) {
                stats[warp_id()][row][0] = rows.highest[i];
                stats[warp_id()][row][1] = rows.totals[i];
            }
            float* to = sums + (warp_id() * MMA_ROWS + row) * ROW + lane_id() % 4 * 2;
#pragma unroll
            for (u32 n = 0; n < D / 8; ++n) {
                *reinterpret_cast<float2*>(to + n * 8) =
                    make_float2(rows.sums[n][2 * i], rows.sums[n][2 * i + 1]);
            }
        }
    }

    /// The merged sums of 8 dimensions of a row, and its highest score and total weight.
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

/// Divides by the total weight, and writes 8 dimensions of a packed row.
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
    // Tiles begin where pages or halves of them do.
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
    Rows<T, D> rows;
    rows.load_queries(batch, sequence, 0);
    const float scale = batch.scale * LOG2_E;
    u32 index = 0;
    for (u32 at = split.from + warp_id() * DECODE_TOKENS; at < split.to; at += SPLIT_TOKENS) {
        tiles_ahead.read(index + 1);
        cp_async_wait<1>();
        __syncwarp();
        const T* keys = tiles_ahead.stage(index);
        rows.template attend<1>(keys, keys + TILE, at, scale);
        __syncwarp();
        ++index;
    }
    rows.finish();

    // The stages make room for the sums.
    cp_async_wait<0>();
    __syncthreads();
    __shared__ float stats[DECODE_WARPS][MMA_ROWS][2];
    Merge<D> merge = {reinterpret_cast<float*>(shared), stats};
    merge.put(rows);
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

    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(partials.arrived + pair, 1u) == splits - 1;
    }
    __syncthreads();
    if (is_last) {
        __threadfence();
        combine<T, D>(out, partials, batch, sequence, pair, splits);
        if (threadIdx.x == 0) {
            partials.arrived[pair] = 0;
        }
    }
}

/// The tiles of 128 rows that the prefill kernel cuts a sequence into.
template <typename T> __device__ inline u32 prefill_tiles(const Batch<T>& batch, u32 row) {
    const u32 queries = batch.query_starts[row + 1] - batch.query_starts[row];
    if (is_decode(queries, batch.group)) {
        return 0;
    }
    return ceil_div(queries * batch.group, PREFILL_ROWS);
}

/// Which sequence a tile is of, and which of its tiles: every warp finds it for itself.
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

/// Starts to read 64 tokens of keys and values, from `position` on, with the whole block.
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

}  // namespace paged_attention_kernel

#define PAGED_ATTENTION(T, D, suffix)                                                              \
    KERNEL(paged_attention_kernel::DECODE_THREADS, paged_attention_decode_##suffix, T* out,        \
           float* partial_out, float* partial_stats, u32* arrived, const T* qkv, const T* cache,   \
           const u32* query_starts, const u32* context_lens, const u32* block_tables,              \
           const u32* live, u32 kv_heads, u32 group, u32 block_size, u32 table_width, u32 window,  \
           float scale) {                                                                          \
        const attention::Batch<T> batch = {                                                        \
            qkv,      cache, query_starts, context_lens, block_tables,                             \
            kv_heads, group, block_size,   table_width,  window, scale};                           \
        const paged_attention_kernel::Partials partials = {partial_out, partial_stats, arrived};   \
        paged_attention_kernel::decode<T, D>(out, partials, batch, live);                          \
    }                                                                                              \
    KERNEL(paged_attention_kernel::PREFILL_THREADS, paged_attention_prefill_##suffix, T* out,      \
           const T* qkv, const T* cache, const u32* query_starts, const u32* context_lens,         \
           const u32* block_tables, const u32* live, u32 kv_heads, u32 group, u32 block_size,      \
           u32 table_width, u32 window, float scale) {                                             \
        const attention::Batch<T> batch = {                                                        \
            qkv,      cache, query_starts, context_lens, block_tables,                             \
            kv_heads, group, block_size,   table_width,  window, scale};                           \
        paged_attention_kernel::prefill<T, D>(out, batch, live);                                   \
    }

PAGED_ATTENTION(Bf16, 64, bf16_64)
PAGED_ATTENTION(Bf16, 96, bf16_96)
PAGED_ATTENTION(Bf16, 128, bf16_128)
PAGED_ATTENTION(F16, 64, f16_64)
PAGED_ATTENTION(F16, 96, f16_96)
PAGED_ATTENTION(F16, 128, f16_128)
#undef PAGED_ATTENTION
