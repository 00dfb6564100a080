#include "matmul.h"

#include <algorithm>
#include <cstring>
#include <vector>

// For bf16 and f16 on the host.
#include "../numbers.h"

namespace device {
namespace {

/// Number of parallel sums, so that the compiler can vectorize the loop.
constexpr size_t LANES = 16;

float load(const Matrix& matrix, size_t index) {
    const auto* halves = static_cast<const uint16_t*>(matrix.elements);
    switch (matrix.element) {
    case Element::BF16:
        return emulator::bf16_value(halves[index]);
    case Element::F16:
        return emulator::f16_value(halves[index]);
    case Element::F32:
        break;
    }
    return static_cast<const float*>(matrix.elements)[index];
}

void store(const Matrix& matrix, size_t index, float value) {
    auto* halves = static_cast<uint16_t*>(matrix.elements);
    switch (matrix.element) {
    case Element::BF16:
        halves[index] = uint16_t(emulator::bf16_bits(value));
        return;
    case Element::F16:
        halves[index] = uint16_t(emulator::f16_bits(value));
        return;
    case Element::F32:
        static_cast<float*>(matrix.elements)[index] = value;
        return;
    }
}

/// A matrix's columns or rows as contiguous vectors, padded with zeros. The product consists of their
/// dot products.
struct Vectors {
    size_t padded;
    std::vector<float> values;

    Vectors(const Matrix& matrix, bool is_by_column) {
        const size_t count = is_by_column ? matrix.columns : matrix.rows;
        const size_t length = is_by_column ? matrix.rows : matrix.columns;
        padded = (length + LANES - 1) / LANES * LANES;
        values.resize(count * padded);
        for (size_t v = 0; v < count; ++v) {
            for (size_t i = 0; i < length; ++i) {
                values[v * padded + i] =
                    load(matrix, is_by_column ? v * matrix.stride + i : i * matrix.stride + v);
            }
        }
    }

    const float* at(size_t vector) const { return values.data() + vector * padded; }
};

float dot(const float* a, const float* b, size_t padded) {
    float sums[LANES] = {};
    for (size_t i = 0; i < padded; i += LANES) {
        for (size_t lane = 0; lane < LANES; ++lane) {
            sums[lane] += a[i + lane] * b[i + lane];
        }
    }
    float sum = 0.0f;
    for (const float part : sums) {
        sum += part;
    }
    return sum;
}

}  // namespace

size_t element_bytes(Element element) { return element == Element::F32 ? 4 : 2; }

size_t Matrix::bytes() const {
    return rows == 0 || columns == 0 ? 0 : ((columns - 1) * stride + rows) * element_bytes(element);
}

void multiply(const Matmul& matmul) {
    const Vectors a(matmul.a, matmul.transpose_a), b(matmul.b, !matmul.transpose_b);
    for (size_t row = 0; row < matmul.d.rows; ++row) {
        for (size_t column = 0; column < matmul.d.columns; ++column) {
            float value = matmul.alpha * dot(a.at(row), b.at(column), a.padded);
            if (matmul.beta != 0.0f) {
                value += matmul.beta * load(matmul.c, column * matmul.c.stride + row);
            }
            store(matmul.d, column * matmul.d.stride + row, value);
        }
    }
}

}  // namespace device
