#include "fairlead/vectors/walk_codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <numeric>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kBlock = 16;
constexpr int kMiddle = 128;
constexpr float kLargestHalfNorm = 1.0e9F;

// To the nearest integer, ties to even. Adding 1.5 * 2^23 leaves it in the lowest bits; rintf would be a call a number.
std::uint8_t rounded(float value) {
    const float moved = std::min(std::max(value, -127.0F), 127.0F) + 12582912.0F;
    std::uint32_t bits;
    std::memcpy(&bits, &moved, sizeof bits);
    return static_cast<std::uint8_t>(bits + kMiddle);
}

// Sixteen sums at a time, which the compiler makes vectors of.
float squared_distance(const float* x, const float* y, std::size_t count) {
    float sums[16] = {};
    std::size_t c = 0;
    for (; c + 16 <= count; c += 16) {
        for (std::size_t i = 0; i < 16; ++i) sums[i] += (x[c + i] - y[c + i]) * (x[c + i] - y[c + i]);
    }
    for (; c < count; ++c) sums[0] += (x[c] - y[c]) * (x[c] - y[c]);
    return std::accumulate(std::begin(sums), std::end(sums), 0.0F);
}

float squared_norm(const float* x, std::size_t count) {
    return std::inner_product(x, x + count, x, 0.0F);
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
            // Of a query it is never looked at.
            const float norm = queries ? 0.0F : squared_distance(plain.data() + i * width, center.data(), width);
            const auto whole = static_cast<std::int32_t>(std::min(kLargestHalfNorm, norm / 2.0F * scale * scale));
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
