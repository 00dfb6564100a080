// Token embeddings: out[i] = table[token i].
//
// out: T [tokens, hidden]; token_ids: u32 [tokens]; table: T [vocab, hidden]. hidden is a multiple of 8.
// If the highest bit of a token id is set, the other bits are an index into `sampled`, which holds the
// tokens that the last step sampled. Those tokens need not be copied to the host and back.
//
// A block copies the row of one token. Launch: grid (tokens), 256 threads.
#include "common.cuh"

namespace embed_kernel {

constexpr u32 THREADS = 256;
constexpr u32 IS_SAMPLED = 1u << 31;

template <typename T>
__device__ inline void copy_row(
    T* __restrict__ out, const u32* __restrict__ token_ids, const u32* __restrict__ sampled,
    const T* __restrict__ table, const u32* __restrict__ live, u32 hidden) {
    const u32 token = blockIdx.x;
    if (token >= *live) {
        return;
    }
    u32 id = token_ids[token];
    if (id & IS_SAMPLED) {
        id = sampled[id & ~IS_SAMPLED];
    }
    const T* from = table + u64(id) * hidden;
    T* to = out + u64(token) * hidden;
    for (u32 i = threadIdx.x * VECTOR; i < hidden; i += THREADS * VECTOR) {
        store_vector(to + i, load_vector(from + i));
    }
}

}  // namespace embed_kernel

#define EMBED(T, name)                                                                             \
    KERNEL(embed_kernel::THREADS, name, T* out, const u32* token_ids, const u32* sampled,          \
           const T* table, const u32* live, u32 hidden) {                                          \
        embed_kernel::copy_row(out, token_ids, sampled, table, live, hidden);                      \
    }

EMBED(Bf16, embed_bf16)
EMBED(F16, embed_f16)
#undef EMBED
