#pragma once

#include <vector>

#include "fairlead/packed.hpp"

namespace fairlead {

// A batch of activations as int8 in groups of kGroup with one float32 scale each, in the lane order of PackedView:
// vector v of a superblock has in lane g the activations 4v..4v+3 of group g. Lanes without a group are zero.
// For each lane there is also what an integer dot product starts from, since stored weights are unsigned:
// -2^(bits - 1) times the sum of the lane's activations.
struct InputView {
    std::uint8_t* data = nullptr;
    std::size_t lanes = 0;
    std::size_t stride = 0;  // bytes from a vector to the next

    FAIRLEAD_INLINE std::uint8_t* q(std::size_t b) const { return data + b * stride; }
    FAIRLEAD_INLINE float* scale(std::size_t b) const {
        return reinterpret_cast<float*>(data + b * stride + lanes * kGroup);
    }
    FAIRLEAD_INLINE std::int32_t* correction(std::size_t b, int bits) const {
        return reinterpret_cast<std::int32_t*>(scale(b) + lanes) + (bits == 4 ? 0 : lanes);
    }
};

// Owns what an InputView shows; calls reuse it.
class QuantizedInput {
public:
    // Makes room for a batch of vectors; what was in it is lost.
    void resize(std::size_t batch, std::size_t columns) {
        columns_ = columns;
        batch_ = batch;
        view_.lanes = (columns / kGroup + 3) / 4 * 4;
        const std::size_t lines = (view_.lanes * (kGroup + 3 * sizeof(float)) + sizeof(Line) - 1) / sizeof(Line);
        view_.stride = lines * sizeof(Line);
        if (lines_.size() < lines * batch) lines_.resize(lines * batch);
        view_.data = reinterpret_cast<std::uint8_t*>(lines_.data());
    }
    std::size_t batch() const { return batch_; }
    std::size_t columns() const { return columns_; }
    const InputView& view() const { return view_; }

private:
    struct alignas(64) Line {
        std::uint8_t bytes[64];
    };
    std::vector<Line> lines_;
    InputView view_;
    std::size_t batch_ = 0;
    std::size_t columns_ = 0;
};

}  // namespace fairlead
