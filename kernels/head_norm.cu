// Root-mean-square normalisation of each query and key head, in place: x / sqrt(mean(x²) + eps) · weight.
//
// qkv: T [m, (heads + 2 kv_heads) · head_dim]; query_weight and key_weight: f32 [head_dim]. head_dim is a
// multiple of 8 and at most 256. Values stay as they are.
//
// A block computes one token, and each of its warps one head at a time. Launch: grid (m), 256 threads.
#include "common.cuh"

namespace head_norm_kernel {

constexpr u32 THREADS = 256;

template <typename T>
__device__ inline void normalise_heads(
    T* __restrict__ qkv, const float* __restrict__ query_weight,
    const float* __restrict__ key_weight, const u32* __restrict__ live, u32 heads, u32 kv_heads,
    u32 head_dim, float eps) {
    const u32 token = blockIdx.x;
    if (token >= *live) {
        return;
    }
    T* row = qkv + u64(token) * (heads + 2 * kv_heads) * head_dim;
    const u32 i = lane_id() * VECTOR;
    const bool is_in_head = i < head_dim;
    for (u32 head = warp_id(); head < heads + kv_heads; head += THREADS / WARP_SIZE) {
        T* x = row + head * head_dim + i;
        float values[VECTOR];
        float sum = 0.0f;
        if (is_in_head) {
            load(x, values);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                sum += values[j] * values[j];
            }
        }
        const float scale = 1.0f / sqrtf(warp_sum(sum) / float(head_dim) + eps);
        if (is_in_head) {
            float weights[VECTOR];
            load((head < heads ? query_weight : key_weight) + i, weights);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                values[j] *= scale * weights[j];
            }
            store(x, values);
        }
    }
}

}  // namespace head_norm_kernel

#define HEAD_NORM(T, name)                                                                         \
    KERNEL(head_norm_kernel::THREADS, name, T* qkv, const float* query_weight,                     \
           const float* key_weight, const u32* live, u32 heads, u32 kv_heads, u32 head_dim,        \
           float eps) {                                                                            \
        head_norm_kernel::normalise_heads(qkv, query_weight, key_weight, live, heads, kv_heads,    \
                                          head_dim, eps);                                          \
    }

HEAD_NORM(Bf16, head_norm_bf16)
HEAD_NORM(F16, head_norm_f16)
#undef HEAD_NORM
