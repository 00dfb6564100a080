// 16-bit floats on the host.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace emulator {

inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

inline float bf16_value(uint32_t bits) { return float_of(bits << 16); }

/// Rounds to nearest even.
inline uint32_t bf16_bits(float x) {
    const uint32_t bits = bits_of(x);
    if (x != x) {
        return bits >> 16 | 0x40;
    }
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/// Rounds to nearest even.
inline uint32_t f16_bits(float x) {
    const uint32_t sign = bits_of(x) >> 16 & 0x8000;
    const float magnitude = std::fabs(x);
    const uint32_t bits = bits_of(magnitude);
    if (x != x) {
        return sign | 0x7e00;
    }
    if (magnitude >= 65520.0f) {
        return sign | 0x7c00;
    }
    if (magnitude < 0x1p-14f) {
        // The last bit of 0.5f has the value of the last bit of a subnormal half, so the sum rounds
        // correctly.
        return sign | (bits_of(magnitude + 0.5f) - bits_of(0.5f));
    }
    return sign | ((bits + 0xfff + (bits >> 13 & 1) - (112u << 23)) >> 13);
}

inline float f16_value(uint32_t bits) {
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const uint32_t exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 0) {
        return sign * float(fraction) * 0x1p-24f;
    }
    if (exponent == 31) {
        return fraction == 0 ? sign * INFINITY : NAN;
    }
    return float_of((bits & 0x8000) << 16 | (exponent + 112) << 23 | fraction << 13);
}

}  // namespace emulator
