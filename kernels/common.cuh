// Common code of all kernels: 16-bit floats, 16-byte vectors, warps.
//
// Each .cu file is compiled twice: by nvcc for the GPU, with ptx.cuh, and by the host's C++ compiler for
// the CPU, with emulator/device.h, for the tests. Everything beyond plain CUDA C++ (conversions,
// cp.async, ldmatrix, mma) is a function in these two headers and nowhere else.
//
// Conventions of the entry points:
//   - T is the type of activations, weights, keys and values: Bf16 or F16. Sums are f32.
//   - Matrices are row-major and contiguous; pointers are aligned to 16 bytes.
//   - `live` points to the number of valid leading rows, on the device. The grid has the size of the
//     batch bucket, and the blocks of rows past `live` return at once. So a captured graph can serve
//     fewer rows than it was captured for.
#pragma once

using u32 = unsigned int;
using u64 = unsigned long long;

struct Bf16 {
    unsigned short bits;
};

struct F16 {
    unsigned short bits;
};

#ifdef __CUDACC__
#include "ptx.cuh"
#else
#include "emulator/device.h"
#endif

constexpr u32 WARP_SIZE = 32;
constexpr u32 ALL_LANES = 0xffffffffu;
/// Elements of a 16-byte vector.
constexpr u32 VECTOR = 8;

__device__ inline u32 lane_id() { return threadIdx.x % WARP_SIZE; }
__device__ inline u32 warp_id() { return threadIdx.x / WARP_SIZE; }

__host__ __device__ constexpr u32 ceil_div(u32 a, u32 b) { return (a + b - 1) / b; }

/// The two values of a pair. The first is in the low half.
template <typename T> __device__ inline float2 unpack(u32 pair);

template <> __device__ inline float2 unpack<Bf16>(u32 pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

template <> __device__ inline float2 unpack<F16>(u32 pair) { return unpack_f16(pair); }

/// A pair of values, rounded to nearest even. The first is in the low half.
template <typename T> __device__ inline u32 pack(float low, float high);

template <> __device__ inline u32 pack<Bf16>(float low, float high) { return pack_bf16(low, high); }

template <> __device__ inline u32 pack<F16>(float low, float high) { return pack_f16(low, high); }

template <typename T> __device__ inline uint4 load_vector(const T* from) {
    return *reinterpret_cast<const uint4*>(from);
}

template <typename T> __device__ inline void store_vector(T* to, uint4 vector) {
    *reinterpret_cast<uint4*>(to) = vector;
}

template <typename T> __device__ inline void unpack_vector(uint4 vector, float (&values)[VECTOR]) {
    const u32 pairs[4] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        const float2 pair = unpack<T>(pairs[i]);
        values[2 * i] = pair.x;
        values[2 * i + 1] = pair.y;
    }
}

template <typename T> __device__ inline uint4 pack_vector(const float (&values)[VECTOR]) {
    return make_uint4(
        pack<T>(values[0], values[1]), pack<T>(values[2], values[3]), pack<T>(values[4], values[5]),
        pack<T>(values[6], values[7]));
}

template <typename T> __device__ inline void load(const T* from, float (&values)[VECTOR]) {
    unpack_vector<T>(load_vector(from), values);
}

template <typename T> __device__ inline void store(T* to, const float (&values)[VECTOR]) {
    store_vector(to, pack_vector<T>(values));
}

/// Loads 8 floats from a 16-byte aligned address.
__device__ inline void load(const float* from, float (&values)[VECTOR]) {
    const float4 low = reinterpret_cast<const float4*>(from)[0];
    const float4 high = reinterpret_cast<const float4*>(from)[1];
    values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
    values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

/// The sum over the warp, in every lane.
__device__ inline float warp_sum(float value) {
#pragma unroll
    for (u32 distance = WARP_SIZE / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

/// Whether this block is the last of `blocks` to call this. The last block sees everything that the
/// others wrote before. `arrived` counts the blocks; it is zero before and after. All threads of the
/// block must call this.
__device__ inline bool is_last_of(u32* arrived, u32 blocks) {
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(arrived, 1u) == blocks - 1;
        if (is_last) {
            *arrived = 0;
        }
    }
    __syncthreads();
    if (is_last) {
        __threadfence();
    }
    return is_last;
}
