#include "bit_segment.hpp"

#include <algorithm>
#include <cmath>

namespace fairlead::vectors {
namespace {

// The best step of a uniform quantizer of normal numbers, in standard deviations (Max 1960), by bits.
constexpr float kSteps[9] = {0, 1.596F, 0.9957F, 0.586F, 0.3352F, 0.1881F, 0.1041F, 0.0569F, 0.0308F};

struct Sums {
    float product = 0, square = 0;
    float quality() const { return square > 0 ? product * std::fabs(product) / square : 0.0F; }
};

Sums round_by(const float* o, std::size_t d, std::uint32_t bits, float scale, std::uint8_t* codes) {
    const auto most = static_cast<float>((1U << bits) - 1), centre = most / 2;
    Sums sums;
    for (std::size_t i = 0; i < d; ++i) {
        const float level = std::clamp(std::floor(o[i] * scale + centre + 0.5F), 0.0F, most);
        codes[i] = static_cast<std::uint8_t>(level);
        sums.product += (level - centre) * o[i];
        sums.square += (level - centre) * (level - centre);
    }
    return sums;
}

// Moves single codes by one where that brings them nearer in direction.
void adjust(const float* o, std::size_t d, std::uint32_t bits, Sums sums, std::uint8_t* codes) {
    const int most = (1 << bits) - 1;
    const float centre = static_cast<float>(most) / 2;
    for (std::size_t i = 0; i < d; ++i) {
        // Towards the number itself as the scale that the sums stand for would have it.
        const float level = static_cast<float>(codes[i]) - centre;
        const float wanted = sums.product > 0 ? o[i] * sums.square / sums.product : level;
        const int moved = std::clamp(codes[i] + (wanted > level ? 1 : -1), 0, most);
        const float other = static_cast<float>(moved) - centre;
        const Sums then{sums.product + (other - level) * o[i], sums.square + other * other - level * level};
        if (then.quality() <= sums.quality()) continue;
        sums = then;
        codes[i] = static_cast<std::uint8_t>(moved);
    }
}

}  // namespace

void segment_codes(const float* o, std::size_t d, std::uint32_t bits, std::uint8_t* codes) {
    double square = 0;
    for (std::size_t i = 0; i < d; ++i) square += static_cast<double>(o[i]) * o[i];
    const auto deviation = static_cast<float>(std::sqrt(square / static_cast<double>(std::max<std::size_t>(d, 1))));
    if (!(deviation > 0)) return std::fill_n(codes, d, static_cast<std::uint8_t>(1U << (bits - 1))), void();
    const float usual = 1 / (kSteps[bits] * deviation);
    if (bits == 1) {
        round_by(o, d, bits, usual, codes);
        return;
    }
    float best = -1, chosen = usual;
    for (int k = -5; k <= 5; ++k) {
        const float scale = usual * (1 + 0.07F * static_cast<float>(k));
        const float quality = round_by(o, d, bits, scale, codes).quality();
        if (quality > best) best = quality, chosen = scale;
    }
    adjust(o, d, bits, round_by(o, d, bits, chosen, codes), codes);
}

float segment_product(const std::uint8_t* codes, std::size_t d, std::uint32_t bits, std::uint32_t shift,
                      const float* y) {
    const float centre = static_cast<float>((1U << (bits - shift)) - 1) / 2;
    float sum = 0;
    for (std::size_t i = 0; i < d; ++i) sum += (static_cast<float>(codes[i] >> shift) - centre) * y[i];
    return sum;
}

SegmentFit segment_fit(const float* o, std::size_t d, std::uint32_t bits, std::uint32_t shift,
                       const std::uint8_t* codes) {
    const float centre = static_cast<float>((1U << (bits - shift)) - 1) / 2;
    double square = 0, length = 0;
    for (std::size_t i = 0; i < d; ++i) {
        const double level = static_cast<float>(codes[i] >> shift) - centre;
        square += static_cast<double>(o[i]) * o[i];
        length += level * level;
    }
    const double product = segment_product(codes, d, bits, shift, o);
    if (!(square > 0) || !(product > 0)) return {};
    const double cosine2 = std::min(1.0, product * product / (square * length));
    const double left = (1 - cosine2) / cosine2 / static_cast<double>(std::max<std::size_t>(d, 2) - 1);
    return {static_cast<float>(square / product), static_cast<float>(std::sqrt(square * left))};
}

}  // namespace fairlead::vectors
