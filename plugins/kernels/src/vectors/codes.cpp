#include "fairlead/vectors/codes.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "fairlead/vectors/kernels.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kHead = sizeof(float);

std::vector<float>& buffer(int which, std::size_t size) {
    thread_local std::vector<float> buffers[3];
    buffers[which].resize(size);
    return buffers[which];
}

float dot(const float* a, const float* b, std::size_t n) {
    float out;
    vector_kernels().project(a, 1, n, b, &out);
    return out;
}

// Lane l of the correction takes in bytes 4 l .. 4 l + 3 of each line.
void correct(const std::int8_t* codes, std::uint32_t lines, std::int32_t (&correction)[16]) {
    std::fill(std::begin(correction), std::end(correction), 0);
    for (std::size_t i = 0; i < lines * kLine; ++i) correction[i % kLine / 4] -= 128 * codes[i];
}

}  // namespace

LeadingQueryView LeadingQuery::view() const {
    return {coarse_.as<std::int8_t>(), fine_.as<std::int8_t>(), correction_, fine_correction_, lines_, add_, scale_};
}

LeadingModel::LeadingModel(const Space& space, std::uint32_t dims, const float* matrix, const float* mean, float step)
    : space_(space), dims_(dims), matrix_(matrix), mean_(mean), step_(step) {
    space.check();
    if (space.element == Element::bit) throw std::invalid_argument("element: bits have no leading codes");
    if (dims < 1 || dims > space.dim) throw std::invalid_argument("dims: must be 1..dim");
    if (!(step > 0) || !std::isfinite(step)) throw std::invalid_argument("step: must be above 0");
    mean_norm2_ = dot(mean, mean, space.dim);
}

// Normalises where the metric asks for it and takes the mean away; returns the part of the distance that is the
// vector's own (its squared norm, half of it for cosine; for dot minus its product with the mean).
float LeadingModel::centred(const float* vector, float* out) const {
    const std::size_t dim = space_.dim;
    float factor = 1;
    if (space_.metric == Metric::cosine) {
        const float square = dot(vector, vector, dim);
        factor = square > 0 ? 1 / std::sqrt(square) : 0.0F;
    }
    for (std::size_t i = 0; i < dim; ++i) out[i] = vector[i] * factor - mean_[i];
    if (space_.metric == Metric::dot) return -(dot(out, mean_, dim) + mean_norm2_);
    return (space_.metric == Metric::cosine ? 0.5F : 1.0F) * dot(out, out, dim);
}

void LeadingModel::encode(const void* vector, std::uint8_t* row) const {
    std::vector<float>&raw = buffer(0, space_.dim), &x = buffer(1, space_.dim), &y = buffer(2, dims_);
    to_floats(space_, vector, raw.data());
    const float own = centred(raw.data(), x.data());
    vector_kernels().project(matrix_, dims_, space_.dim, x.data(), y.data());
    std::memcpy(row, &own, kHead);
    for (std::size_t i = 0; i < dims_; ++i) {
        row[kHead + i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(y[i] / step_), -127.0F, 127.0F) + 128);
    }
    std::memset(row + kHead + dims_, 128, leading_stride(dims_) - kHead - dims_);
}

void LeadingModel::prepare(const void* vector, std::uint32_t lead, LeadingQuery& query) const {
    if (space_.element == Element::float32) return prepare_floats(static_cast<const float*>(vector), lead, query);
    std::vector<float>& raw = buffer(0, space_.dim);
    to_floats(space_, vector, raw.data());
    prepare_floats(raw.data(), lead, query);
}

void LeadingModel::prepare_floats(const float* vector, std::uint32_t lead, LeadingQuery& query) const {
    const std::size_t lines = whole_lines(kHead + std::clamp(lead, 1U, dims_)) / kLine;
    const std::size_t used = std::min<std::size_t>(dims_, lines * kLine - kHead);
    std::vector<float>&x = buffer(1, space_.dim), &y = buffer(2, used);
    const float own = centred(vector, x.data());
    vector_kernels().project(matrix_, used, space_.dim, x.data(), y.data());
    float largest = 0;
    for (std::size_t i = 0; i < used; ++i) largest = std::max(largest, std::fabs(y[i]));
    const float step = largest > 0 ? largest / 127 : 1.0F;
    query.lines_ = static_cast<std::uint32_t>(lines);
    query.coarse_.resize(lines * kLine);
    query.fine_.resize(lines * kLine);
    for (std::size_t i = 0; i < used; ++i) {
        const float coarse = std::nearbyint(y[i] / step);
        const float rest = std::clamp(std::nearbyint((y[i] / step - coarse) * 128), -127.0F, 127.0F);
        query.coarse_.as<std::int8_t>()[kHead + i] = static_cast<std::int8_t>(coarse);
        query.fine_.as<std::int8_t>()[kHead + i] = static_cast<std::int8_t>(rest);
    }
    correct(query.coarse_.as<std::int8_t>(), query.lines_, query.correction_);
    correct(query.fine_.as<std::int8_t>(), query.lines_, query.fine_correction_);
    // For dot, -<x, q> = -<x - mean, q - mean> - <x, mean> - <q - mean, mean>: both shares hold <mean, mean> once.
    query.add_ = space_.metric == Metric::dot ? own + mean_norm2_ : own;
    query.scale_ = step * step_ * (space_.metric == Metric::l2 ? 2.0F : 1.0F);
}

void leading_distances(const LeadingQuery& query, const LeadingView& codes, const std::uint32_t* ids, std::size_t n,
                       float* out) {
    if (n > 0) vector_kernels().leading(query.view(), codes, ids, n, out);
}

void fine_distances(const LeadingQuery& query, const LeadingView& codes, const std::uint32_t* ids, std::size_t n,
                    float* out) {
    if (n > 0) vector_kernels().fine(query.view(), codes, ids, n, out);
}

}  // namespace fairlead::vectors
