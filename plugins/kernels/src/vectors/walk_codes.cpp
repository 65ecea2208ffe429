#include "fairlead/vectors/walk_codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <numeric>

#include "fairlead/dispatch.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kBlock = 16;
constexpr int kMiddle = 128;
constexpr int kMiddleNibble = 8;
// A query's steps of 4 bit codes are so much smaller.
constexpr int kQuerySteps = 16;
constexpr float kLargestHalfNorm = 1.0e9F;

// To the nearest integer, ties to even, for magnitudes below 2^22. Adding 1.5 * 2^23 leaves it in the lowest bits; rintf
// would be a call a number.
std::int32_t rounded(float value, float most) {
    const float moved = std::min(std::max(value, -most), most) + 12582912.0F;
    std::int32_t bits;
    std::memcpy(&bits, &moved, sizeof bits);
    return bits - 0x4B400000;
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

template <class F>
void WalkEncoder::turn(const std::byte* vectors, std::size_t count, bool queries, bool whole, const F& f) const {
    const std::size_t rows = leading() + (whole ? trailing : 0), width = columns();
    std::vector<float> plain(kBlock * width), turned(kBlock * rows);
    for (std::size_t first = 0; first < count; first += kBlock) {
        const std::size_t some = std::min(kBlock, count - first);
        for (std::size_t i = 0; i < some; ++i) {
            prepare(*this, vectors + (first + i) * space.bytes(), queries, plain.data() + i * width);
        }
        kernels_in_use().multiply_floats(rotation.data(), width, 0, rows, plain.data(), some, turned.data(), rows);
        for (std::size_t i = 0; i < some; ++i) {
            float* x = turned.data() + i * rows;
            for (std::size_t d = 0; d < rows; ++d) x[d] -= offset[d];
            f(first + i, plain.data() + i * width, x);
        }
    }
}

void WalkEncoder::encode(const std::byte* vectors, std::size_t count, std::uint8_t* codes, std::uint8_t* rows,
                         float* more) const {
    const std::size_t lead = leading(), lead_bytes = packed_bytes(lead, extra);
    const std::int32_t fine = 1 << extra, half = fine >> 1;
    const std::int32_t middle = static_cast<std::int32_t>((1U << tail_bits) >> 1);
    const std::int32_t largest = bits == 4 ? kMostNibble : 127;
    const float scale = static_cast<float>(fine) / step;
    const float most = static_cast<float>((bits == 4 ? kMostNibble + kEdge : 127) * fine);
    std::vector<std::uint16_t> rest(std::max(lead, trailing));
    turn(vectors, count, false, rows != nullptr, [&](std::size_t i, const float* plain, const float* x) {
        std::uint8_t* code = codes + i * code_bytes();
        for (std::size_t d = 0; d < lead; ++d) {
            const std::int32_t value = rounded(x[d] * scale, most);
            const std::int32_t near = std::clamp((value + half) >> extra, -largest, largest);
            put(code, d, near);
            std::int32_t more = value - near * fine + half;
            if (bits == 4 && std::abs(near) == kMostNibble) {
                const std::int32_t outwards = std::abs(value) - kMostNibble * fine + half;
                more = std::min((outwards + kEdge / 2) / kEdge, fine - 1);
            }
            rest[d] = static_cast<std::uint16_t>(more);
        }
        const float norm = squared_distance(plain, center.data(), columns());
        const auto whole = static_cast<std::int32_t>(std::min(kLargestHalfNorm, norm / 2.0F / score_unit()));
        std::memcpy(code + packed(), &whole, sizeof whole);
        if (more != nullptr) more[i] = augmented() ? plain[space.dim] : 0.0F;
        if (rows == nullptr) return;
        pack(rest.data(), lead, extra, rows + i * row_bytes());
        for (std::size_t d = 0; d < trailing; ++d) {
            rest[d] = static_cast<std::uint16_t>(rounded(x[lead + d] / tail_step, static_cast<float>(middle - 1)) + middle);
        }
        pack(rest.data(), trailing, tail_bits, rows + i * row_bytes() + lead_bytes);
    });
}

void WalkEncoder::encode_queries(const std::byte* vectors, std::size_t count, std::int8_t* walked, float* whole) const {
    const std::size_t lead = leading(), all = lead + trailing;
    const float scale = static_cast<float>(bits == 4 ? kQuerySteps : 1) / step;
    std::memset(walked, 0, count * query_bytes());
    turn(vectors, count, true, whole != nullptr, [&](std::size_t i, const float* plain, const float* x) {
        std::int8_t* query = walked + i * query_bytes();
        for (std::size_t d = 0; d < lead; ++d) {
            query[factor(d)] = static_cast<std::int8_t>(-rounded(x[d] * scale, 127.0F));
        }
        if (whole == nullptr) return;
        float* out = whole + i * query_floats();
        std::copy_n(x, all, out);
        out[all] = squared_distance(plain, center.data(), columns());
    });
}

void WalkEncoder::query_of_code(const std::uint8_t* code, std::int8_t* query) const {
    std::memset(query, 0, query_bytes());
    if (bits == 8) {
        for (std::size_t d = 0; d < leading(); ++d) query[d] = static_cast<std::int8_t>(kMiddle - code[d]);
        return;
    }
    for (std::size_t d = 0; d < packed(); ++d) {
        query[factor(d)] = static_cast<std::int8_t>((kMiddleNibble - (code[d] & 15)) * kQuerySteps);
        query[factor(d + packed())] = static_cast<std::int8_t>((kMiddleNibble - (code[d] >> 4)) * kQuerySteps);
    }
}

// The low half of a byte is put before the high one.
void WalkEncoder::put(std::uint8_t* code, std::size_t d, std::int32_t value) const {
    if (bits == 8) {
        code[d] = static_cast<std::uint8_t>(value + kMiddle);
    } else if (d < packed()) {
        code[d] = static_cast<std::uint8_t>(value + kMiddleNibble);
    } else {
        code[d - packed()] |= static_cast<std::uint8_t>((value + kMiddleNibble) << 4);
    }
}

std::size_t WalkEncoder::factor(std::size_t d) const {
    if (bits == 8) return d;
    const std::size_t high = d < packed() ? 0 : 1, byte = d - high * packed();
    return byte / kLine * 2 * kLine + high * kLine + byte % kLine;
}

}  // namespace fairlead::vectors
