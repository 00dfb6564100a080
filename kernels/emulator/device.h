// CPU implementation of the CUDA names and of the functions of ../ptx.cuh that the kernels use.
//
// A kernel's threads run as fibers of one host thread, see block.h. At a warp operation, each lane waits
// for the others, and the last lane to arrive executes the operation for all. The emulator checks that
//   - all 32 lanes of a warp arrive at the same operation;
//   - the target of cp.async holds NaNs until its group is waited for and a barrier is passed; cp.async
//     writes only to shared memory; and every copy is waited for before the thread ends;
//   - the rows of an ldmatrix are in shared memory and aligned, and those of a matrix are in different
//     banks.
// The compiler's sanitizers check addresses, alignment and integers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "block.h"
#include "entry.h"
#include "numbers.h"

#define __device__
#define __host__
#define __shared__ static
#define __align__(bytes) alignas(bytes)

#define threadIdx (emulator::thread().index)
#define blockIdx (emulator::block().index)
#define gridDim (emulator::block().grid)

#define KERNEL(threads, name, ...)                                                                 \
    void name(__VA_ARGS__);                                                                        \
    static const emulator::Entry entry_##name(#name, threads, name);                               \
    void name(__VA_ARGS__)

#define DYNAMIC_SHARED(name) unsigned char* name = emulator::block().shared

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

template <typename T> T min(T a, T b) { return b < a ? b : a; }
template <typename T> T max(T a, T b) { return a < b ? b : a; }

inline u32 __float_as_uint(float x) { return emulator::bits_of(x); }
inline float __uint_as_float(u32 bits) { return emulator::float_of(bits); }

inline int __popc(u32 bits) { return __builtin_popcount(bits); }
inline int __ffs(u32 bits) { return __builtin_ffs(int(bits)); }

// Only one thread runs at a time.
template <typename T> T atomicAdd(T* at, T value) {
    emulator::count_update(at);
    const T before = *at;
    *at += value;
    return before;
}

inline u32 atomicOr(u32* at, u32 value) {
    emulator::count_update(at);
    const u32 before = *at;
    *at |= value;
    return before;
}

inline void __threadfence() {}
inline void __syncthreads() { emulator::sync_block(); }

namespace emulator {

/// A lane's input and output of a shuffle.
template <typename T> struct Shuffle {
    T value;
    u32 source;
    T result;
};

template <typename T> T shuffle(u32 mask, T value, u32 source) {
    check(mask == 0xffffffffu, "a shuffle of a part of a warp");
    Shuffle<T> own = {value, source, T()};
    meet("a shuffle", &own, [](void* const (&lanes)[32]) {
        for (void* lane : lanes) {
            auto* taker = static_cast<Shuffle<T>*>(lane);
            check(taker->source < 32, "a shuffle from a lane that is none");
            taker->result = static_cast<Shuffle<T>*>(lanes[taker->source])->value;
        }
    });
    return own.result;
}

inline u32 lane() { return thread().index.x % 32; }

}  // namespace emulator

template <typename T> T __shfl_sync(u32 mask, T value, u32 source) {
    return emulator::shuffle(mask, value, source % 32);
}

template <typename T> T __shfl_xor_sync(u32 mask, T value, u32 distance) {
    return emulator::shuffle(mask, value, emulator::lane() ^ distance);
}

template <typename T> T __shfl_up_sync(u32 mask, T value, u32 distance) {
    const u32 lane = emulator::lane();
    return emulator::shuffle(mask, value, lane >= distance ? lane - distance : lane);
}

inline u32 __ballot_sync(u32 mask, bool vote) {
    emulator::check(mask == 0xffffffffu, "a ballot of a part of a warp");
    emulator::Shuffle<u32> own = {vote, 0, 0};
    emulator::meet("a ballot", &own, [](void* const (&lanes)[32]) {
        u32 votes = 0;
        for (u32 i = 0; i < 32; ++i) {
            votes |= static_cast<emulator::Shuffle<u32>*>(lanes[i])->value << i;
        }
        for (void* lane : lanes) {
            static_cast<emulator::Shuffle<u32>*>(lane)->result = votes;
        }
    });
    return own.result;
}

inline bool __any_sync(u32 mask, bool vote) { return __ballot_sync(mask, vote) != 0; }

inline void __syncwarp() {
    emulator::thread().copies.publish();
    emulator::meet("__syncwarp", nullptr, [](void* const (&)[32]) {});
}

namespace emulator {

template <typename T> float value(u32 bits);
template <> inline float value<Bf16>(u32 bits) { return bf16_value(bits); }
template <> inline float value<F16>(u32 bits) { return f16_value(bits); }

}  // namespace emulator

inline u32 pack_bf16(float low, float high) {
    return emulator::bf16_bits(high) << 16 | emulator::bf16_bits(low);
}

inline u32 pack_f16(float low, float high) {
    return emulator::f16_bits(high) << 16 | emulator::f16_bits(low);
}

inline float2 unpack_f16(u32 pair) {
    return make_float2(emulator::f16_value(pair & 0xffff), emulator::f16_value(pair >> 16));
}

inline float fast_exp2(float x) { return std::exp2(x); }

inline void cp_async_16(void* shared, const void* global, bool valid) {
    emulator::check_shared(shared, 16, "cp.async");
    emulator::Copy copy = {shared, {}};
    if (valid) {
        // Read as a vector, so that the sanitizer reports a source that is not aligned to 16 bytes.
        const uint4 vector = *static_cast<const uint4*>(global);
        std::memcpy(copy.bytes, &vector, sizeof vector);
    }
    std::memset(shared, 0xff, sizeof copy.bytes);
    emulator::thread().copies.push_back({copy});
}

inline void cp_async_commit() { emulator::thread().copies.commit(); }

template <u32 PENDING> void cp_async_wait() { emulator::thread().copies.wait(PENDING); }

namespace emulator {

/// A lane's input and output of an ldmatrix.
struct MatrixRow {
    const void* address;
    u32 (*matrices)[4];
};

template <bool TRANSPOSED> void ldmatrix(u32 (&matrices)[4], const void* row) {
    check_shared(row, 16, "ldmatrix");
    MatrixRow own = {row, &matrices};
    meet(TRANSPOSED ? "ldmatrix.trans" : "ldmatrix", &own, [](void* const (&lanes)[32]) {
        for (u32 m = 0; m < 4; ++m) {
            uint16_t matrix[8][8];
            u32 banks = 0;
            for (u32 r = 0; r < 8; ++r) {
                const void* address = static_cast<MatrixRow*>(lanes[m * 8 + r])->address;
                std::memcpy(matrix[r], address, sizeof matrix[r]);
                banks |= 1u << reinterpret_cast<uintptr_t>(address) / 16 % 8;
            }
            check(banks == 0xff, "rows of an ldmatrix lie in the same banks");
            for (u32 i = 0; i < 32; ++i) {
                const u32 r = i / 4, c = i % 4 * 2;
                const u32 low = TRANSPOSED ? matrix[c][r] : matrix[r][c];
                const u32 high = TRANSPOSED ? matrix[c + 1][r] : matrix[r][c + 1];
                (*static_cast<MatrixRow*>(lanes[i])->matrices)[m] = high << 16 | low;
            }
        }
    });
}

/// A lane's input and output of an mma.
struct Fragments {
    float (*c)[4];
    const u32 (*a)[4];
    u32 b[2];
};

}  // namespace emulator

inline void ldmatrix_4(u32 (&matrices)[4], const void* row) {
    emulator::ldmatrix<false>(matrices, row);
}

inline void ldmatrix_4_transposed(u32 (&matrices)[4], const void* row) {
    emulator::ldmatrix<true>(matrices, row);
}

template <typename T> void mma_16x8x16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    emulator::Fragments own = {&c, &a, {b0, b1}};
    emulator::meet("mma", &own, [](void* const (&lanes)[32]) {
        float a[16][16], b[16][8];
        for (u32 i = 0; i < 32; ++i) {
            const auto* lane = static_cast<emulator::Fragments*>(lanes[i]);
            const u32 r = i / 4, k = i % 4 * 2;
            for (u32 half = 0; half < 2; ++half) {
                for (u32 part = 0; part < 4; ++part) {
                    const u32 bits = (*lane->a)[part] >> 16 * half & 0xffff;
                    a[r + part % 2 * 8][k + part / 2 * 8 + half] = emulator::value<T>(bits);
                }
                for (u32 part = 0; part < 2; ++part) {
                    const u32 bits = lane->b[part] >> 16 * half & 0xffff;
                    b[k + part * 8 + half][r] = emulator::value<T>(bits);
                }
            }
        }
        for (u32 i = 0; i < 32; ++i) {
            auto* lane = static_cast<emulator::Fragments*>(lanes[i]);
            for (u32 part = 0; part < 4; ++part) {
                const u32 r = i / 4 + part / 2 * 8, n = i % 4 * 2 + part % 2;
                float sum = (*lane->c)[part];
                for (u32 k = 0; k < 16; ++k) {
                    sum += a[r][k] * b[k][n];
                }
                (*lane->c)[part] = sum;
            }
        }
    });
}
