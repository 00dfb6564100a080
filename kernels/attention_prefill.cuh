// Attention for sequences with many queries: prompts, whole or in chunks.
//
// A block computes 128 rows (queries · group, packed) of one sequence and kv head, 32 rows per warp, over
// tiles of 64 tokens. With 32 rows, a warp uses each key and value that it reads from shared memory for
// two tensor-core tiles; with 16, reading would take longer than computing. Keys and values have one
// tile each: the values are copied while the scores are computed, and the next keys while the values
// are added. So two blocks fit a multiprocessor with 164 KiB of shared memory.
#pragma once
#include "attention_rows.cuh"

namespace attention {

constexpr u32 PREFILL_WARPS = 4;
constexpr u32 PREFILL_THREADS = PREFILL_WARPS * WARP_SIZE;
/// Tensor-core tiles of a warp.
constexpr u32 PREFILL_TILES = 2;
constexpr u32 WARP_ROWS = PREFILL_TILES * MMA_ROWS;
constexpr u32 PREFILL_ROWS = PREFILL_WARPS * WARP_ROWS;
constexpr u32 PREFILL_TOKENS = 64;

/// Number of tiles of 128 rows into which the prefill kernel divides a sequence.
template <typename T> __device__ inline u32 prefill_tiles(const Batch<T>& batch, u32 row) {
    const u32 queries = batch.query_starts[row + 1] - batch.query_starts[row];
    if (is_decode(queries, batch.group)) {
        return 0;
    }
    return ceil_div(queries * batch.group, PREFILL_ROWS);
}

/// The sequence of a tile and the tile's index in it. Every warp looks it up independently. The last tile
/// of a sequence is the first in the grid, because it sees the most tokens.
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
                tile = __shfl_sync(ALL_LANES, end, owner) - 1 - tile;
                is_found = true;
            } else {
                tile -= __shfl_sync(ALL_LANES, end, WARP_SIZE - 1);
            }
        }
    }
};

/// A 16-byte vector of a tile that a thread copies: chunk `chunk` of row or token `row`.
template <u32 D> struct PrefillVector {
    static constexpr u32 CHUNKS = D / VECTOR;

    u32 row;
    u32 chunk;

    /// The thread's vector number `i`. In the first form, its address in the tile is the first one's and
    /// a constant, which saves registers.
    __device__ explicit PrefillVector(u32 i) {
        if constexpr (PREFILL_THREADS % CHUNKS == 0) {
            row = i * (PREFILL_THREADS / CHUNKS) + threadIdx.x / CHUNKS;
            chunk = threadIdx.x % CHUNKS;
        } else {
            const u32 index = i * PREFILL_THREADS + threadIdx.x;
            row = index / CHUNKS;
            chunk = index % CHUNKS;
        }
    }

    /// Number of vectors of a thread in a tile.
    __device__ static constexpr u32 count(u32 rows) { return rows * CHUNKS / PREFILL_THREADS; }
};

/// A row of a block, in shared memory because registers are scarce.
struct PrefillRow {
    u32 end;  // of the positions to which it attends; 0 for a row past the sequence's last one
    u32 out;  // its index in the output [tokens · heads, D]
};

/// The 128 rows of queries of a block, a tile in shared memory.
template <typename T, u32 D> struct PrefillQueries {
    /// More would keep more addresses in registers than there are.
    static constexpr u32 UNROLL = 4;

    T* tile;
    PrefillRow* rows;

    /// Starts to copy the rows of a sequence from `first_row` on. The whole block takes part.
    __device__ PrefillQueries(
        T* tile, PrefillRow* rows, const Batch<T>& batch, const Sequence& sequence, u32 first_row)
        : tile(tile), rows(rows) {
        static_assert(PREFILL_THREADS == PREFILL_ROWS, "each thread describes a row");
        const u32 own = first_row + threadIdx.x;
        const u32 token = sequence.first_query + own / batch.group;
        const u32 kv_head = token * batch.kv_heads + sequence.kv_head;
        rows[threadIdx.x] = {
            sequence.row_end(own, batch.group), kv_head * batch.group + own % batch.group};
#pragma unroll
        for (u32 i = 0; i < PrefillVector<D>::count(PREFILL_ROWS); ++i) {
            const PrefillVector<D> vector(i);
            const u32 row = first_row + vector.row;
            const bool is_real = row / batch.group < sequence.queries;
            const T* from = is_real
                ? query_of<T, D>(batch, sequence, row) + vector.chunk * VECTOR
                : batch.qkv;
            cp_async_16(tile + tile_index<D>(vector.row, vector.chunk), from, is_real);
        }
    }

    __device__ void load(u32 (&operand)[4], u32 m, u32 k) const {
        const u32 row = warp_id() * WARP_ROWS + m * MMA_ROWS + lane_id() % 16;
        ldmatrix_4(operand, tile + tile_index<D>(row, 2 * k + lane_id() / 16));
    }

    /// A row of this warp.
    __device__ const PrefillRow& own(u32 row) const { return rows[warp_id() * WARP_ROWS + row]; }

    __device__ u32 end(u32 row) const { return own(row).end; }
};

/// Copies the keys and values of a sequence to tiles of 64 tokens. The whole block takes part.
template <typename T, u32 D> struct PrefillTokens {
    static constexpr u32 TILE = PREFILL_TOKENS * D;
    /// A page has a multiple of this number of tokens, so that many tokens of a tile share a page.
    static constexpr u32 PAGE_TOKENS = 16;

    const Batch<T>& batch;
    Span seen;
    u64 table;        // offset of the sequence's pages in the block tables
    u32 keys;         // offset of the kv head's keys in a page
    u32 values;       // offset of the values from the keys: half of a page
    u32 block_shift;  // log2 of the tokens of a page
    /// The page of the tile's tokens `16 lane..16 (lane + 1)`, in the first four lanes.
    u32 page;

    __device__ PrefillTokens(const Batch<T>& batch, const Sequence& sequence, Span seen)
        : batch(batch), seen(seen), table(u64(sequence.row) * batch.table_width),
          keys(sequence.kv_head * batch.block_size * D), values(values_offset<T, D>(batch)), block_shift(__ffs(batch.block_size) - 1), page(0) {}

    /// Loads the pages of the tile at `position`, ahead of their use.
    __device__ void find_pages(u32 position) {
        const u32 at = position + lane_id() * PAGE_TOKENS;
        if (lane_id() < PREFILL_TOKENS / PAGE_TOKENS && at < seen.to) {
            page = batch.block_tables[table + (at >> block_shift)];
        }
    }

    __device__ void read_keys(T* to, u32 position) const { read(to, keys, position); }

    __device__ void read_values(T* to, u32 position) const {
        read(to, keys + values, position);
    }

  private:
    /// Starts the copies, and commits them as a group. Tokens that are not seen become zeros.
    __device__ void read(T* to, u32 from_page, u32 position) const {
#pragma unroll
        for (u32 i = 0; i < PrefillVector<D>::count(PREFILL_TOKENS); ++i) {
            const PrefillVector<D> vector(i);
            const u32 at = position + vector.row;
            const bool is_seen = at >= seen.from && at < seen.to;
            const u32 own = __shfl_sync(ALL_LANES, page, vector.row / PAGE_TOKENS);
            const u32 token = (at & (batch.block_size - 1)) * D + vector.chunk * VECTOR;
            const u64 offset = u64(own) * (2 * values) + from_page + token;
            const T* from = batch.cache + (is_seen ? offset : 0);
            cp_async_16(to + tile_index<D>(vector.row, vector.chunk), from, is_seen);
        }
        cp_async_commit();
    }
};

/// Divides a warp's sums by the total weights and writes them.
template <typename T, u32 D>
__device__ inline void write_prefill(
    T* out, const PrefillQueries<T, D>& queries, const Rows<T, D, PREFILL_TILES>& rows) {
#pragma unroll
    for (u32 i = 0; i < 2 * PREFILL_TILES; ++i) {
        const PrefillRow row = queries.own(rows.lane_row(i));
        if (row.end == 0) {
            continue;
        }
        const float factor = 1.0f / rows.totals[i];
        T* to = out + u64(row.out) * D + lane_id() % 4 * 2;
#pragma unroll
        for (u32 n = 0; n < D / 8; ++n) {
            const float(&pair)[4] = rows.sums[i / 2][n];
            *reinterpret_cast<u32*>(to + n * 8) =
                pack<T>(pair[i % 2 * 2] * factor, pair[i % 2 * 2 + 1] * factor);
        }
    }
}

template <typename T, u32 D>
__device__ inline void prefill(T* out, const Batch<T>& batch, const u32* live) {
    const PrefillTile tile(batch, *live, blockIdx.x);
    if (!tile.is_found) {
        return;
    }
    const Sequence sequence(batch, tile.row, blockIdx.y);
    const u32 block_row = tile.tile * PREFILL_ROWS;
    const u32 last_query =
        min((block_row + PREFILL_ROWS - 1) / batch.group, sequence.queries - 1);
    const Span seen = {
        sequence.first_seen(block_row / batch.group, batch.window),
        sequence.position(last_query) + 1};

    DYNAMIC_SHARED(shared);
    T* keys = reinterpret_cast<T*>(shared);
    T* values = keys + PrefillTokens<T, D>::TILE;
    PrefillTokens<T, D> tokens(batch, sequence, seen);
    __shared__ PrefillRow block_rows[PREFILL_ROWS];
    const PrefillQueries<T, D> queries(
        values + PrefillTokens<T, D>::TILE, block_rows, batch, sequence, block_row);
    using WarpRows = Rows<T, D, PREFILL_TILES>;
    WarpRows rows;
    const float scale = batch.scale * LOG2_E;
    u32 at = seen.from / PREFILL_TOKENS * PREFILL_TOKENS;
    tokens.find_pages(at);
    tokens.read_keys(keys, at);
    for (; at < seen.to; at += PREFILL_TOKENS) {
        // The keys have arrived, and no warp uses the last values any more.
        cp_async_wait<0>();
        __syncthreads();
        tokens.read_values(values, at);
        const u32 end = at + PREFILL_TOKENS;
        tokens.find_pages(end);
        // The other rows of the warp are at most this far behind its first row.
        const u32 first_end = queries.end(0), last_end = first_end + WARP_ROWS - 1;
        const bool is_used = first_end != 0 && at < last_end;
        typename WarpRows::template Scores<PREFILL_TOKENS / 16> scores;
        if (is_used) {
            scores.multiply(queries, keys);
        }
        // The values have arrived, and no warp uses the keys any more.
        cp_async_wait<0>();
        __syncthreads();
        if (end < seen.to) {
            tokens.read_keys(keys, end);
        }
        if (is_used) {
            const bool is_whole =
                end <= first_end && (batch.window == 0 || last_end <= at + batch.window);
            if (!is_whole) {
                rows.mask(scores, queries, at, batch.window);
            }
            rows.add(rows.weigh(scores, scale), values);
        }
    }
    rows.finish();
    write_prefill<T, D>(out, queries, rows);
}

}  // namespace attention
