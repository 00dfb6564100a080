// Addition in place: out += factor · x. It serves the linear layers that cannot add to the residual
// themselves.
//
// out and x: T [m, width]. width is a multiple of 8.
//
// A block adds 2,048 values of one row. Launch: grid (m, ceil(width / 2048)), 256 threads.
#include "common.cuh"

namespace add_kernel {

constexpr u32 THREADS = 256;

template <typename T>
__device__ inline void
add_row(
    T* __restrict__ out, const T* __restrict__ x, const u32* __restrict__ live, u32 width,
    float factor) {
    const u32 row = blockIdx.x;
    const u32 i = (blockIdx.y * THREADS + threadIdx.x) * VECTOR;
    if (row >= *live || i >= width) {
        return;
    }
    const u64 at = u64(row) * width + i;
    float sum[VECTOR], term[VECTOR];
    load(out + at, sum);
    load(x + at, term);
#pragma unroll
    for (u32 j = 0; j < VECTOR; ++j) {
        sum[j] += factor * term[j];
    }
    store(out + at, sum);
}

}  // namespace add_kernel

#define ADD(T, name)                                                                               \
    KERNEL(add_kernel::THREADS, name, T* out, const T* x, const u32* live, u32 width,              \
           float factor) {                                                                         \
        add_kernel::add_row(out, x, live, width, factor);                                          \
    }

ADD(Bf16, add_bf16)
ADD(F16, add_f16)
#undef ADD
