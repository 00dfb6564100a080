// Matrix multiplication by plain loops: D = alpha · op(A) · op(B) + beta · C.
#pragma once

#include <cstddef>
#include <cstdint>

namespace device {

enum class Element { BF16, F16, F32 };

size_t element_bytes(Element element);

/// A column-major matrix.
struct Matrix {
    void* elements;
    Element element;
    size_t rows;
    size_t columns;
    /// Distance between columns, in elements.
    size_t stride;

    /// Size in bytes from the first element to the last one.
    size_t bytes() const;
};

struct Matmul {
    Matrix a, b, c, d;
    bool transpose_a, transpose_b;
    float alpha, beta;
};

/// Sums are f32, as with CUBLAS_COMPUTE_32F. Their order differs from that of cuBLAS.
void multiply(const Matmul& matmul);

}  // namespace device
