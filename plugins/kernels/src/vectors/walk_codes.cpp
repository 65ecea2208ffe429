#include "fairlead/vectors/walk_codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kBlock = 16;
constexpr int kMiddle = 128;
constexpr float kLargestHalfNorm = 1.0e9F;

std::uint8_t rounded(float value) {
    return static_cast<std::uint8_t>(static_cast<int>(__builtin_rintf(std::clamp(value, -127.0F, 127.0F))) + kMiddle);
}

float squared_norm(const float* x, std::size_t count) {
    float sum = 0.0F;
    for (std::size_t c = 0; c < count; ++c) sum += x[c] * x[c];
    return sum;
}

float half_norm(const float* x, const std::vector<float>& center) {
    float sum = 0.0F;
    for (std::size_t c = 0; c < center.size(); ++c) sum += (x[c] - center[c]) * (x[c] - center[c]);
    return sum / 2.0F;
}

// The vector that is rotated.
void prepare(const WalkEncoder& encoder, const std::byte* vector, bool query, float* out) {
    const std::size_t dim = encoder.space.dim;
    to_floats(encoder.space, vector, out);
    if (encoder.space.element == Element::bit) return;
    if (encoder.space.metric == Metric::cosine) {
        const float norm = std::sqrt(squared_norm(out, dim));
        for (std::size_t c = 0; c < dim && norm > 0.0F; ++c) out[c] /= norm;
    }
    if (encoder.augmented()) {
        out[dim] = query ? 0.0F : std::sqrt(std::max(0.0F, encoder.longest - squared_norm(out, dim)));
    }
}

}  // namespace

void WalkEncoder::encode(const std::byte* vectors, std::size_t count, bool queries, std::uint8_t* codes,
                         std::uint8_t* tails, float* more) const {
    const std::size_t lead = leading(), rows = lead + (tails != nullptr ? trailing : 0), width = columns();
    std::vector<float> plain(kBlock * width), turned(kBlock * rows);
    const float scale = 1.0F / step, tail_scale = 1.0F / tail_step;
    for (std::size_t first = 0; first < count; first += kBlock) {
        const std::size_t some = std::min(kBlock, count - first);
        for (std::size_t i = 0; i < some; ++i) {
            prepare(*this, vectors + (first + i) * space.bytes(), queries, plain.data() + i * width);
        }
        kernels_in_use().multiply_floats(rotation.data(), width, 0, rows, plain.data(), some, turned.data(), rows);
        for (std::size_t i = 0; i < some; ++i) {
            const float* x = turned.data() + i * rows;
            std::uint8_t* code = codes + (first + i) * code_bytes();
            for (std::size_t d = 0; d < lead; ++d) code[d] = rounded((x[d] - offset[d]) * scale);
            const float half = half_norm(plain.data() + i * width, center) * scale * scale;
            const auto whole = static_cast<std::int32_t>(std::min(kLargestHalfNorm, half));
            std::memcpy(code + lead, &whole, sizeof whole);
            for (std::size_t d = lead; d < rows; ++d) {
                tails[(first + i) * trailing + d - lead] = rounded((x[d] - offset[d]) * tail_scale);
            }
            if (more != nullptr) more[first + i] = augmented() ? plain[i * width + space.dim] : 0.0F;
        }
    }
}

void WalkEncoder::query_of_code(const std::uint8_t* code, std::int8_t* query) const {
    for (std::size_t d = 0; d < leading(); ++d) query[d] = static_cast<std::int8_t>(kMiddle - code[d]);
    std::memset(query + leading(), 0, sizeof(std::int32_t));
}

}  // namespace fairlead::vectors
