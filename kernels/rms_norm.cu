// Root-mean-square normalisation of each row: out = x / sqrt(mean(x²) + eps) · weight.
//
// out and x: T [m, hidden]; weight: f32 [hidden]. hidden is a multiple of 8 and at most 16,384.
// This kernel does not add the residual: the previous linear layer has already added to it.
//
// A block normalises one row. It keeps the row in registers, so that x is read once.
// Launch: grid (m), 512 threads.
#include "common.cuh"

namespace rms_norm_kernel {

constexpr u32 THREADS = 512;
constexpr u32 MAX_VECTORS = 4;

template <typename T>
__device__ inline void normalise_row(
    T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ weight,
    const u32* __restrict__ live, u32 hidden, float eps) {
    const u32 row = blockIdx.x;
    if (row >= *live) {
        return;
    }
    const T* from = x + u64(row) * hidden;
    uint4 vectors[MAX_VECTORS];
    float sum = 0.0f;
#pragma unroll
    for (u32 v = 0; v < MAX_VECTORS; ++v) {
        const u32 i = (v * THREADS + threadIdx.x) * VECTOR;
        if (i < hidden) {
            vectors[v] = load_vector(from + i);
            float values[VECTOR];
            unpack_vector<T>(vectors[v], values);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                sum += values[j] * values[j];
            }
        }
    }

    __shared__ float warp_sums[THREADS / WARP_SIZE];
    sum = warp_sum(sum);
    if (lane_id() == 0) {
        warp_sums[warp_id()] = sum;
    }
    __syncthreads();
    float total = 0.0f;
#pragma unroll
    for (u32 warp = 0; warp < THREADS / WARP_SIZE; ++warp) {
        total += warp_sums[warp];
    }
    const float scale = 1.0f / sqrtf(total / float(hidden) + eps);

    T* to = out + u64(row) * hidden;
#pragma unroll
    for (u32 v = 0; v < MAX_VECTORS; ++v) {
        const u32 i = (v * THREADS + threadIdx.x) * VECTOR;
        if (i < hidden) {
            float values[VECTOR], weights[VECTOR];
            unpack_vector<T>(vectors[v], values);
            load(weight + i, weights);
#pragma unroll
            for (u32 j = 0; j < VECTOR; ++j) {
                values[j] *= scale * weights[j];
            }
            store(to + i, values);
        }
    }
}

}  // namespace rms_norm_kernel

#define RMS_NORM(T, name)                                                                          \
    KERNEL(rms_norm_kernel::THREADS, name, T* out, const T* x, const float* weight,                \
           const u32* live, u32 hidden, float eps) {                                               \
        rms_norm_kernel::normalise_row(out, x, weight, live, hidden, eps);                         \
    }

RMS_NORM(Bf16, rms_norm_bf16)
RMS_NORM(F16, rms_norm_f16)
#undef RMS_NORM
