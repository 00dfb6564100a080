// The gated activation of the feed-forward layer: out = silu(gate) · up, silu(x) = x / (1 + e^-x).
//
// out: T [m, i]; gate_up: T [m, 2i], with a row's gates before its ups. i is a multiple of 8.
//
// A block computes 2,048 outputs of one row. Launch: grid (m, ceil(i / 2048)), 256 threads.
#include "common.cuh"

namespace silu_mul_kernel {

constexpr u32 THREADS = 256;

template <typename T>
__device__ inline void activate(
    T* __restrict__ out, const T* __restrict__ gate_up, const u32* __restrict__ live,
    u32 intermediate) {
    const u32 row = blockIdx.x;
    const u32 i = (blockIdx.y * THREADS + threadIdx.x) * VECTOR;
    if (row >= *live || i >= intermediate) {
        return;
    }
    const T* gates = gate_up + u64(row) * 2 * intermediate;
    float gate[VECTOR], up[VECTOR];
    load(gates + i, gate);
    load(gates + intermediate + i, up);
#pragma unroll
    for (u32 j = 0; j < VECTOR; ++j) {
        gate[j] = gate[j] / (1.0f + expf(-gate[j])) * up[j];
    }
    store(out + u64(row) * intermediate + i, gate);
}

}  // namespace silu_mul_kernel

#define SILU_MUL(T, name)                                                                          \
    KERNEL(silu_mul_kernel::THREADS, name, T* out, const T* gate_up, const u32* live,              \
           u32 intermediate) {                                                                     \
        silu_mul_kernel::activate(out, gate_up, live, intermediate);                               \
    }

SILU_MUL(Bf16, silu_mul_bf16)
SILU_MUL(F16, silu_mul_f16)
#undef SILU_MUL
