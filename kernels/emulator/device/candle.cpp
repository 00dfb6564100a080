// The kernels of candle that the program launches, after candle-kernels 0.11. They are not under test.
// One call computes the whole grid.
#include <cstddef>
#include <cstdint>

#include "../entry.h"
#include "../numbers.h"

namespace device {
namespace {

using emulator::Entry;
using emulator::Runs;

/// `LaunchConfig::for_num_elems`.
constexpr unsigned THREADS = 1024;

struct Bf16 {
    uint16_t bits;
};

float to_f32(Bf16 value) { return emulator::bf16_value(value.bits); }
float to_f32(float value) { return value; }

template <typename To> To from_f32(float value);
template <> Bf16 from_f32<Bf16>(float value) { return {uint16_t(emulator::bf16_bits(value))}; }
template <> float from_f32<float>(float value) { return value; }

/// The index of a tensor's element in memory. If the tensor may be strided, `info` holds its sizes and
/// then its strides.
size_t place_of(size_t element, size_t dimensions, const size_t* info) {
    if (info == nullptr) {
        return element;
    }
    size_t place = 0;
    for (size_t d = dimensions; d-- > 0; element /= info[d]) {
        place += element % info[d] * info[dimensions + d];
    }
    return place;
}

template <typename T> void copy2d(const T* from, T* to, uint32_t rows, uint32_t columns,
                                  uint32_t from_stride, uint32_t to_stride) {
    for (size_t row = 0; row < rows; ++row) {
        for (size_t column = 0; column < columns; ++column) {
            to[row * to_stride + column] = from[row * from_stride + column];
        }
    }
}

template <typename T>
void const_set(size_t count, size_t dimensions, const size_t* info, T value, T* out) {
    for (size_t i = 0; i < count; ++i) {
        out[place_of(i, dimensions, info)] = value;
    }
}

template <typename From, typename To>
void cast(size_t count, size_t dimensions, const size_t* info, const From* in, To* out) {
    for (size_t i = 0; i < count; ++i) {
        out[i] = from_f32<To>(to_f32(in[place_of(i, dimensions, info)]));
    }
}

const Entry ENTRIES[] = {
    {"copy2d_u32", THREADS, copy2d<uint32_t>, Runs::ONCE},
    {"copy2d_f32", THREADS, copy2d<float>, Runs::ONCE},
    {"copy2d_bf16", THREADS, copy2d<Bf16>, Runs::ONCE},
    {"const_set_u32", THREADS, const_set<uint32_t>, Runs::ONCE},
    {"const_set_f32", THREADS, const_set<float>, Runs::ONCE},
    {"cast_bf16_f32", THREADS, cast<Bf16, float>, Runs::ONCE},
    {"cast_f32_bf16", THREADS, cast<float, Bf16>, Runs::ONCE},
};

}  // namespace
}  // namespace device
