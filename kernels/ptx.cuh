// The functions that the kernels use beyond plain CUDA C++, as PTX for sm_80 and newer.
// emulator/device.h implements the same functions for the CPU. Source: PTX ISA 9.0.
#pragma once

/// Declares the entry point `name`. It must be launched with exactly `threads` threads per block.
#define KERNEL(threads, name, ...)                                                                 \
    extern "C" __global__ void __launch_bounds__(threads, 1) name(__VA_ARGS__)

/// Dynamic shared memory, whose size is a launch parameter.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

__device__ inline u32 pack_bf16(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ inline u32 pack_f16(float low, float high) {
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ inline float2 unpack_f16(u32 pair) {
    float2 values;
    asm("{\n"
        ".reg .b16 low, high;\n"
        "mov.b32 {low, high}, %2;\n"
        "cvt.f32.f16 %0, low;\n"
        "cvt.f32.f16 %1, high;\n"
        "}"
        : "=f"(values.x), "=f"(values.y)
        : "r"(pair));
    return values;
}

/// 2 to the power of `x`, with an error of at most 2 units in the last place.
__device__ inline float fast_exp2(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

__device__ inline u32 shared_address(const void* shared) {
    return static_cast<u32>(__cvta_generic_to_shared(shared));
}

/// Starts to copy 16 bytes to shared memory without using registers. If `valid` is false, it writes
/// zeros and reads nothing.
__device__ inline void cp_async_16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                     shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}

/// Commits the copies since the last commit as a group.
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most the `PENDING` newest groups of this thread are in flight.
template <u32 PENDING> __device__ inline void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/// Loads four 8 × 8 matrices of 16-bit elements. Lane `i` passes the address of row `i % 8` of matrix
/// `i / 8`. It receives element `2 (i % 4)` and the next one of row `i / 4` of each matrix.
__device__ inline void ldmatrix_4(u32 (&matrices)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// As ldmatrix_4, but transposes each matrix.
__device__ inline void ldmatrix_4_transposed(u32 (&matrices)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// `c += a · b` with `a` 16 × 16, `b` 16 × 8 and `c` 16 × 8. With `r = lane / 4` and
/// `k = 2 (lane % 4)`, a lane holds these elements, each with its neighbour:
///   a[0] (r, k)   a[1] (r + 8, k)   a[2] (r, k + 8)   a[3] (r + 8, k + 8)
///   b0 (k, r)     b1 (k + 8, r)     c[0..2] (r, k)    c[2..4] (r + 8, k)
template <typename T>
__device__ inline void mma_16x8x16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1);

template <>
__device__ inline void mma_16x8x16<Bf16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ inline void mma_16x8x16<F16>(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
