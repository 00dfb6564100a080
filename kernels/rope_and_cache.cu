// Applies the rotary position embedding and writes new keys and values to the paged cache.
//
// qkv: T [m, (heads + 2 kv_heads) · head_dim]; positions and slots: u32 [m], with slot = block ·
// block_size + offset; table: f32 [max_positions, table_row], of which the first rotary_dim values turn
// keys and the last rotary_dim values queries, cosines first; cache: T [num_blocks, 2 (keys, values),
// kv_heads, block_size, head_dim]. head_dim and rotary_dim are multiples of 16. Each rotated pair has one
// value from each half of the first rotary_dim dimensions of a head (`rotate_half` of HF transformers).
// The other dimensions stay.
//
// Queries are rotated in place. Rotated keys are written only to the cache, from which attention reads
// them. The keys in qkv do not change.
//
// A block computes one token. A thread rotates 8 pairs or copies 16 values at a time.
// Launch: grid (m), 256 threads.
#include "common.cuh"

namespace rope_and_cache_kernel {

constexpr u32 THREADS = 256;

template <typename T>
__device__ inline void rotate(T* to, const T* from, const float* cos, const float* sin, u32 half) {
    float first[VECTOR], second[VECTOR], c[VECTOR], s[VECTOR];
    load(from, first);
    load(from + half, second);
    load(cos, c);
    load(sin, s);
    float turned_first[VECTOR], turned_second[VECTOR];
#pragma unroll
    for (u32 j = 0; j < VECTOR; ++j) {
        turned_first[j] = first[j] * c[j] - second[j] * s[j];
        turned_second[j] = second[j] * c[j] + first[j] * s[j];
    }
    store(to, turned_first);
    store(to + half, turned_second);
}

/// Copies two vectors.
template <typename T> __device__ inline void copy(T* to, const T* from) {
    store_vector(to, load_vector(from));
    store_vector(to + VECTOR, load_vector(from + VECTOR));
}

template <typename T>
__device__ inline void turn_and_write(
    T* __restrict__ qkv, T* __restrict__ cache, const float* __restrict__ table,
    const u32* __restrict__ positions, const u32* __restrict__ slots, const u32* __restrict__ live,
    u32 heads, u32 kv_heads, u32 head_dim, u32 rotary_dim, u32 table_row, u32 block_size) {
    const u32 token = blockIdx.x;
    if (token >= *live) {
        return;
    }
    const u32 half = rotary_dim / 2;
    const float* key_angles = table + u64(positions[token]) * table_row;
    const float* query_angles = key_angles + table_row - rotary_dim;
    T* row = qkv + u64(token) * (heads + 2 * kv_heads) * head_dim;

    const u32 slot = slots[token];
    const u32 block = slot / block_size, offset = slot % block_size;
    const u64 head_len = u64(block_size) * head_dim;
    T* keys = cache + u64(block) * 2 * kv_heads * head_len + u64(offset) * head_dim;
    T* values = keys + kv_heads * head_len;

    const u32 tasks = head_dim / (2 * VECTOR);
    for (u32 task = threadIdx.x; task < (heads + 2 * kv_heads) * tasks; task += THREADS) {
        const u32 head = task / tasks;
        const u32 i = task % tasks * VECTOR;
        T* x = row + head * head_dim;
        if (head >= heads + kv_heads) {
            copy(values + (head - heads - kv_heads) * head_len + 2 * i, x + 2 * i);
        } else if (head >= heads) {
            T* to = keys + (head - heads) * head_len;
            if (i < half) {
                rotate(to + i, x + i, key_angles + i, key_angles + half + i, half);
            } else {
                copy(to + 2 * i, x + 2 * i);
            }
        } else if (i < half) {
            rotate(x + i, x + i, query_angles + i, query_angles + half + i, half);
        }
    }
}

}  // namespace rope_and_cache_kernel

#define ROPE_AND_CACHE(T, name)                                                                    \
    KERNEL(rope_and_cache_kernel::THREADS, name, T* qkv, T* cache, const float* table,             \
           const u32* positions, const u32* slots, const u32* live, u32 heads, u32 kv_heads,       \
           u32 head_dim, u32 rotary_dim, u32 table_row, u32 block_size) {                          \
        rope_and_cache_kernel::turn_and_write(qkv, cache, table, positions, slots, live, heads,    \
                                              kv_heads, head_dim, rotary_dim, table_row,           \
                                              block_size);                                         \
    }

ROPE_AND_CACHE(Bf16, rope_and_cache_bf16)
ROPE_AND_CACHE(F16, rope_and_cache_f16)
#undef ROPE_AND_CACHE
