// Causal attention over a paged cache: out = softmax(scale · Q Kᵀ) V, for a ragged batch.
//
// qkv: T [tokens, (heads + 2 kv_heads) · head_dim] holds the queries. cache: T [num_blocks, 2 (keys,
// values), kv_heads, block_size, head_dim] holds the keys and values. out: T [tokens, heads · head_dim].
// head_dim is 64, 96 or 128, block_size is 16 or 32, and there are at most 16 heads per kv head.
// Sequence `r` has the queries query_starts[r]..query_starts[r + 1]; the last query is at position
// context_lens[r] - 1. block_tables: u32 [rows, table_width] holds the pages of each sequence. A query
// at `i` attends to the keys at `j <= i`; with a window, only to those with `i - j < window`. Positions
// to which no query attends may hold any values. They are replaced by zeros when they are loaded,
// because a weight of zero does not remove a NaN.
//
// Two kernels share the batch. The number of queries decides which kernel computes a sequence:
// - decode computes sequences whose queries · group fit the 16 rows of a tensor-core tile;
// - prefill computes the others.
//
// Decode: grid (rows, kv_heads, splits), 128 threads, 512 · head_dim bytes of shared memory.
// partial_out: f32 [rows, kv_heads, splits, 16, head_dim]; partial_stats: f32 [rows, kv_heads, splits,
// 16, 2]; arrived: u32 [rows, kv_heads], zero before and after the launch. All three may be null if
// splits is 1.
// Prefill: grid (at least Σ ceil(queries · group / 128) over its sequences, kv_heads), 128 threads,
// 512 · head_dim bytes of shared memory.
#include "attention_decode.cuh"
#include "attention_prefill.cuh"

#define PAGED_ATTENTION(T, D, suffix)                                                              \
    KERNEL(attention::DECODE_THREADS, paged_attention_decode_##suffix, T* out,                     \
           float* partial_out, float* partial_stats, u32* arrived, const T* qkv, const T* cache,   \
           const u32* query_starts, const u32* context_lens, const u32* block_tables,              \
           const u32* live, u32 kv_heads, u32 group, u32 block_size, u32 table_width, u32 window,  \
           float scale) {                                                                          \
        const attention::Batch<T> batch = {                                                        \
            qkv,      cache, query_starts, context_lens, block_tables,                             \
            kv_heads, group, block_size,   table_width,  window, scale};                           \
        const attention::Partials partials = {partial_out, partial_stats, arrived};                \
        attention::decode<T, D>(out, partials, batch, live);                                       \
    }                                                                                              \
    KERNEL(attention::PREFILL_THREADS, paged_attention_prefill_##suffix, T* out,                   \
           const T* qkv, const T* cache, const u32* query_starts, const u32* context_lens,         \
           const u32* block_tables, const u32* live, u32 kv_heads, u32 group, u32 block_size,      \
           u32 table_width, u32 window, float scale) {                                             \
        const attention::Batch<T> batch = {                                                        \
            qkv,      cache, query_starts, context_lens, block_tables,                             \
            kv_heads, group, block_size,   table_width,  window, scale};                           \
        attention::prefill<T, D>(out, batch, live);                                                \
    }

PAGED_ATTENTION(Bf16, 64, bf16_64)
PAGED_ATTENTION(Bf16, 96, bf16_96)
PAGED_ATTENTION(Bf16, 128, bf16_128)
PAGED_ATTENTION(F16, 64, f16_64)
PAGED_ATTENTION(F16, 96, f16_96)
PAGED_ATTENTION(F16, 128, f16_128)
#undef PAGED_ATTENTION
