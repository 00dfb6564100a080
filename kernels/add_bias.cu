// Adds a bias to each row: out += bias.
//
// out: T [m, width]; bias: f32 [width]. width is a multiple of 8.
//
// A block adds 2,048 values of one row. Launch: grid (m, ceil(width / 2048)), 256 threads.
#include "common.cuh"

namespace add_bias_kernel {

constexpr u32 THREADS = 256;

template <typename T>
__device__ inline void add_row(
    T* __restrict__ out, const float* __restrict__ bias, const u32* __restrict__ live, u32 width) {
    const u32 row = blockIdx.x;
    const u32 i = (blockIdx.y * THREADS + threadIdx.x) * VECTOR;
    if (row >= *live || i >= width) {
        return;
    }
    T* to = out + u64(row) * width + i;
    float sum[VECTOR], term[VECTOR];
    load(to, sum);
    load(bias + i, term);
#pragma unroll
    for (u32 j = 0; j < VECTOR; ++j) {
        sum[j] += term[j];
    }
    store(to, sum);
}

}  // namespace add_bias_kernel

#define ADD_BIAS(T, name)                                                                          \
    KERNEL(add_bias_kernel::THREADS, name, T* out, const float* bias, const u32* live,             \
           u32 width) {                                                                            \
        add_bias_kernel::add_row(out, bias, live, width);                                          \
    }

ADD_BIAS(Bf16, add_bias_bf16)
ADD_BIAS(F16, add_bias_f16)
#undef ADD_BIAS
