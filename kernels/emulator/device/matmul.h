// D = alpha · op(A) · op(B) + beta · C, in loops.
#pragma once

#include <cstddef>
#include <cstdint>

namespace device {

/// An element's type.
enum class Element { BF16, F16, F32 };

size_t element_bytes(Element element);

/// A column-major matrix.
struct Matrix {
    void* elements;
    Element element;
    size_t rows;
    size_t columns;
    /// Elements from one column to the next.
    size_t stride;

    /// Bytes from the first element to the last.
    size_t bytes() const;
};

struct Matmul {
    Matrix a, b, c, d;
    bool transpose_a, transpose_b;
    float alpha, beta;
};

/// Sums are f32, as CUBLAS_COMPUTE_32F's; their order is this function's own.
void multiply(const Matmul& matmul);

}  // namespace device
