// libcublasLt: descriptors, one algorithm, and matrix products of bf16, f16 and f32 with f32 sums.
#include <cublasLt.h>
#include <cuda.h>

#include <cstring>
#include <unordered_set>

#include "context.h"
#include "matmul.h"
#include "stream.h"

using namespace device;

namespace {

// The content of NVIDIA's opaque structs in this implementation.
struct Layout {
    Element element;
    uint64_t rows, columns;
    int64_t stride;
};

struct Operation {
    cublasOperation_t a, b;
};

struct Preference {
    uint64_t workspace_bytes;
    uint32_t alignment[4];
};

/// An algorithm is identified by its number. Like a kernel, it is loaded when it first runs.
struct Algorithm {
    uint64_t number;
    uint64_t workspace_bytes;
    uint32_t alignment[4];
};

static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t),
              "NVIDIA's struct is too small");
static_assert(sizeof(Operation) <= sizeof(cublasLtMatmulDescOpaque_t),
              "NVIDIA's struct is too small");
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t),
              "NVIDIA's struct is too small");
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "NVIDIA's struct is too small");

std::unordered_set<uint64_t>& algorithms_that_ran() {
    static auto& numbers = *new std::unordered_set<uint64_t>;
    return numbers;
}

/// Runs the body of a cublasLt function. cublasLt has fewer error codes than the driver.
template <typename Body> cublasStatus_t blas_call(const char* function, Body body) {
    switch (call(function, body)) {
    case CUDA_SUCCESS:
        return CUBLAS_STATUS_SUCCESS;
    case CUDA_ERROR_INVALID_VALUE:
        return CUBLAS_STATUS_INVALID_VALUE;
    case CUDA_ERROR_NOT_SUPPORTED:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    default:
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }
}

Element element_of(cudaDataType type) {
    switch (type) {
    case CUDA_R_16BF:
        return Element::BF16;
    case CUDA_R_16F:
        return Element::F16;
    case CUDA_R_32F:
        return Element::F32;
    default:
        throw Refusal{CUDA_ERROR_NOT_SUPPORTED,
                      "matrices of type " + std::to_string(type) + " are not emulated"};
    }
}

template <typename Value> Value read(const void* from, size_t bytes) {
    require(bytes == sizeof(Value), CUDA_ERROR_INVALID_VALUE,
            "an attribute has " + std::to_string(bytes) + " bytes, not " +
                std::to_string(sizeof(Value)));
    Value value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

/// The content of a caller's descriptor. Queued work uses the content at the time of the call.
template <typename Description, typename Opaque> Description& inside(Opaque* opaque) {
    require(opaque != nullptr, CUDA_ERROR_INVALID_VALUE, "a description is missing");
    return *reinterpret_cast<Description*>(opaque);
}

Matrix matrix(const void* elements, cublasLtMatrixLayout_t opaque) {
    const Layout& layout = inside<Layout>(opaque);
    return {const_cast<void*>(elements), layout.element, size_t(layout.rows),
            size_t(layout.columns), size_t(layout.stride)};
}

void require_matrix(const Matrix& matrix, uint32_t alignment, const char* name) {
    const auto address = reinterpret_cast<Address>(matrix.elements);
    require(matrix.stride >= matrix.rows, CUDA_ERROR_INVALID_VALUE,
            std::string("columns of ") + name + " overlap");
    require(address % alignment == 0, CUDA_ERROR_INVALID_VALUE,
            std::string(name) + " is not aligned to " + std::to_string(alignment) +
                " bytes, as the algorithm was asked for");
    Memory::instance().require_live(address, matrix.bytes(), Place::DEVICE, name);
}

void require_shapes(const Matmul& it) {
    const size_t m = it.transpose_a ? it.a.columns : it.a.rows;
    const size_t k = it.transpose_a ? it.a.rows : it.a.columns;
    const size_t n = it.transpose_b ? it.b.rows : it.b.columns;
    const size_t other_k = it.transpose_b ? it.b.columns : it.b.rows;
    const bool fit =
        k == other_k && it.d.rows == m && it.d.columns == n && it.c.rows == m && it.c.columns == n;
    require(fit, CUDA_ERROR_INVALID_VALUE, "the shapes of A, B, C and D don't fit each other");
}

Matmul described(cublasLtMatmulDesc_t operation, const Matrix& a, const Matrix& b, const Matrix& c,
                 const Matrix& d) {
    const Operation& it = inside<Operation>(operation);
    const Matmul matmul = {a, b, c, d, it.a == CUBLAS_OP_T, it.b == CUBLAS_OP_T, 1.0f, 0.0f};
    require_shapes(matmul);
    return matmul;
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    return blas_call("cublasLtCreate", [&] {
        require(current_context() != nullptr, CUDA_ERROR_INVALID_CONTEXT,
                "this thread has made no context current");
        *handle = reinterpret_cast<cublasLtHandle_t>(context());
    });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t stride) {
    return blas_call("cublasLtMatrixLayoutCreate", [&] {
        const Layout described = {element_of(type), rows, columns, stride};
        *layout = new cublasLtMatrixLayoutOpaque_t();
        std::memcpy(*layout, &described, sizeof described);
    });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation,
                                        cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
    return blas_call("cublasLtMatmulDescCreate", [&] {
        require(compute_type == CUBLAS_COMPUTE_32F && scale_type == CUDA_R_32F,
                CUDA_ERROR_NOT_SUPPORTED, "only sums and scales in f32 are emulated");
        const Operation described = {CUBLAS_OP_N, CUBLAS_OP_N};
        *operation = new cublasLtMatmulDescOpaque_t();
        std::memcpy(*operation, &described, sizeof described);
    });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
    delete operation;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
    return blas_call("cublasLtMatmulDescSetAttribute", [&] {
        Operation& it = inside<Operation>(operation);
        const bool is_a = attribute == CUBLASLT_MATMUL_DESC_TRANSA;
        require(is_a || attribute == CUBLASLT_MATMUL_DESC_TRANSB, CUDA_ERROR_NOT_SUPPORTED,
                "attribute " + std::to_string(attribute) + " of a product is not emulated");
        (is_a ? it.a : it.b) = read<cublasOperation_t>(value, bytes);
    });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    const Preference described = {0, {256, 256, 256, 256}};
    *preference = new cublasLtMatmulPreferenceOpaque_t();
    std::memcpy(*preference, &described, sizeof described);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
    return blas_call("cublasLtMatmulPreferenceSetAttribute", [&] {
        Preference& it = inside<Preference>(preference);
        switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            it.workspace_bytes = read<uint64_t>(value, bytes);
            return;
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            it.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES] =
                read<uint32_t>(value, bytes);
            return;
        default:
            throw Refusal{CUDA_ERROR_NOT_SUPPORTED,
                          "preference " + std::to_string(attribute) + " is not emulated"};
        }
    });
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* count) {
    *count = 0;
    return blas_call("cublasLtMatmulAlgoGetHeuristic", [&] {
        Stream::refuse_in_capture("a product is planned");
        described(operation, matrix(nullptr, a), matrix(nullptr, b), matrix(nullptr, c),
                  matrix(nullptr, d));
        const Preference& asked = inside<Preference>(preference);
        static uint64_t last = 0;
        Algorithm algorithm = {last += 1, asked.workspace_bytes, {}};
        std::copy(asked.alignment, asked.alignment + 4, algorithm.alignment);
        *count = wanted < 1 ? 0 : 1;
        if (*count == 1) {
            *results = {};
            std::memcpy(&results->algo, &algorithm, sizeof algorithm);
            results->workspaceSize = size_t(asked.workspace_bytes);
            results->state = CUBLAS_STATUS_SUCCESS;
        }
    });
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* chosen,
                              void* workspace, size_t workspace_bytes, cudaStream_t stream) {
    return blas_call("cublasLtMatmul", [&] {
        require(current_context() != nullptr, CUDA_ERROR_INVALID_CONTEXT,
                "this thread has made no context current");
        require(chosen != nullptr, CUDA_ERROR_NOT_SUPPORTED,
                "a product without an algorithm is not emulated");
        Matmul matmul = described(operation, matrix(a, a_layout), matrix(b, b_layout),
                                  matrix(c, c_layout), matrix(d, d_layout));
        matmul.alpha = *static_cast<const float*>(alpha);
        matmul.beta = *static_cast<const float*>(beta);
        Algorithm algorithm;
        std::memcpy(&algorithm, chosen, sizeof algorithm);
        require_matrix(matmul.a, algorithm.alignment[0], "A");
        require_matrix(matmul.b, algorithm.alignment[1], "B");
        require_matrix(matmul.c, algorithm.alignment[2], "C");
        require_matrix(matmul.d, algorithm.alignment[3], "D");
        require(workspace_bytes >= algorithm.workspace_bytes, CUDA_ERROR_INVALID_VALUE,
                "the workspace is smaller than the algorithm was asked for");
        Memory::instance().require_live(reinterpret_cast<Address>(workspace), workspace_bytes,
                                        Place::DEVICE, "the workspace");
        if (algorithms_that_ran().count(algorithm.number) == 0) {
            Stream::refuse_in_capture("a product runs for the first time");
        }
        algorithms_that_ran().insert(algorithm.number);
        const std::vector<Address> memory = {
            reinterpret_cast<Address>(a), reinterpret_cast<Address>(b),
            reinterpret_cast<Address>(c), reinterpret_cast<Address>(d),
            reinterpret_cast<Address>(workspace)};
        // Overwrites the workspace, so that a program that keeps data there fails.
        Stream::of(reinterpret_cast<CUstream>(stream))
            ->submit({"a matrix product", memory, [matmul, workspace, workspace_bytes] {
                          multiply(matmul);
                          std::memset(workspace, 0xff, std::min(workspace_bytes, size_t(4096)));
                      }});
    });
}

}  // extern "C"
