// Gathers rows of a matrix: out[i] = x[rows[i]].
//
// out: T [r, width]; x: T [m, width]; rows: u32 [r]. width is a multiple of 8.
//
// A block copies one row. Launch: grid (r), 256 threads.
#include "common.cuh"

namespace gather_rows_kernel {

constexpr u32 THREADS = 256;

template <typename T>
__device__ inline void copy_row(
    T* __restrict__ out, const T* __restrict__ x, const u32* __restrict__ rows,
    const u32* __restrict__ live, u32 width) {
    const u32 row = blockIdx.x;
    if (row >= *live) {
        return;
    }
    const T* from = x + u64(rows[row]) * width;
    T* to = out + u64(row) * width;
    for (u32 i = threadIdx.x * VECTOR; i < width; i += THREADS * VECTOR) {
        store_vector(to + i, load_vector(from + i));
    }
}

}  // namespace gather_rows_kernel

#define GATHER_ROWS(T, name)                                                                       \
    KERNEL(gather_rows_kernel::THREADS, name, T* out, const T* x, const u32* rows,                 \
           const u32* live, u32 width) {                                                           \
        gather_rows_kernel::copy_row(out, x, rows, live, width);                                   \
    }

GATHER_ROWS(Bf16, gather_rows_bf16)
GATHER_ROWS(F16, gather_rows_f16)
#undef GATHER_ROWS
