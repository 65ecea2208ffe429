#pragma once

#include <utility>

#include "arrays.hpp"
#include "fairlead/vectors/walk_codes.hpp"

namespace fairlead::python {

// The encoder of a Python WalkCodes' arrays; of them only that is checked which memory depends on.
inline vectors::WalkEncoder walk_encoder(int element, int metric, std::uint32_t dim, const Array<const float, 2>& rotation,
                                         const Array<const float, 1>& center, std::size_t lines, std::uint32_t bits, float step,
                                         float tail_step, float longest, std::uint32_t extra, std::uint32_t tail_bits) {
    using namespace fairlead::vectors;
    WalkEncoder encoder;
    encoder.space = {static_cast<Element>(element), static_cast<Metric>(metric), dim};
    encoder.space.check();
    encoder.lines = lines;
    encoder.bits = bits;
    require(bits == 4 || bits == 8, "bits: must be 4 or 8");
    require(lines > 0 && rotation.shape(0) >= encoder.leading(), "rotation: has fewer rows than codes have coordinates");
    require(rotation.shape(1) == encoder.columns() && center.shape(0) == encoder.columns(),
            "rotation, center: must have a column for each dimension");
    encoder.trailing = rotation.shape(0) - encoder.leading();
    encoder.rotation.assign(rotation.data(), rotation.data() + rotation.size());
    encoder.center.assign(center.data(), center.data() + center.size());
    for (std::size_t r = 0; r < rotation.shape(0); ++r) {
        double sum = 0;
        for (std::size_t c = 0; c < rotation.shape(1); ++c) {
            sum += static_cast<double>(rotation.data()[r * rotation.shape(1) + c]) * center.data()[c];
        }
        encoder.offset.push_back(static_cast<float>(sum));
    }
    encoder.step = step;
    encoder.tail_step = tail_step;
    require(extra <= 12 - bits && tail_bits >= 2 && tail_bits <= 15,
            "extra, tail_bits: must be at most 12 with a code's bits, and 2 to 15");
    encoder.extra = extra;
    encoder.tail_bits = tail_bits;
    encoder.longest = longest;
    return encoder;
}

}  // namespace fairlead::python
