#include "fairlead/vectors/rotation.hpp"

#include <vector>

#include "fairlead/vectors/kernels.hpp"

namespace fairlead::vectors {
namespace {

std::vector<float>& buffer(int which, std::size_t size) {
    thread_local std::vector<float> buffers[2];
    buffers[which].resize(size);
    return buffers[which];
}

}  // namespace

void RotationView::apply_lead(const float* x, float* out) const {
    std::vector<float>& centred = buffer(0, dim);
    for (std::size_t i = 0; i < dim; ++i) centred[i] = x[i] - mean[i];
    if (lead > 0) vector_kernels().project(matrix, lead, dim, centred.data(), out);
}

void RotationView::apply(const float* x, float* out) const {
    float* rest = out + lead;
    for (std::size_t i = 0; i < dim; ++i) rest[i] = x[i] - mean[i];
    if (lead > 0) vector_kernels().project_out(matrix, lead, dim, rest, out);
    vector_kernels().mix(*this, rest, buffer(1, dim).data());
}

}  // namespace fairlead::vectors
