#pragma once

#include "byte_rows.hpp"
#include "fairlead/vectors/bit_codes.hpp"

namespace fairlead::python {

// A BitModel and the arrays of its rotation, which live as long as it does: what Python passes to everything that codes.
class BitCoder {
public:
    using FloatRows = Array<const float, 2>;
    using FloatVector = Array<const float, 1>;
    using Orders = Array<const std::uint32_t, 2>;

    BitCoder(int element, int metric, std::size_t dim, const vectors::BitPlan& plan, FloatRows matrix, FloatVector mean,
             Orders order, FloatRows signs, float balance, float unseen, float unit)
        : matrix_(matrix), mean_(mean), order_(order), signs_(signs),
          model_(space_of(element, metric, dim), plan, rotation(dim), balance, unseen, unit) {}

    const vectors::BitModel& model() const { return model_; }

private:
    vectors::RotationView rotation(std::size_t dim) const {
        require(matrix_.shape(1) == dim && mean_.shape(0) == dim, "matrix, mean: must have dim columns");
        require(order_.shape(1) == dim && signs_.shape(1) == dim && order_.shape(0) == signs_.shape(0),
                "order, signs: must be [rounds, dim]");
        for (std::size_t i = 0; i < order_.size(); ++i) require(order_.data()[i] < dim, "order: outside 0..dim - 1");
        return {static_cast<std::uint32_t>(dim), static_cast<std::uint32_t>(matrix_.shape(0)),
                static_cast<std::uint32_t>(order_.shape(0)), matrix_.data(), mean_.data(), order_.data(), signs_.data()};
    }

    FloatRows matrix_;
    FloatVector mean_;
    Orders order_;
    FloatRows signs_;
    vectors::BitModel model_;
};

}  // namespace fairlead::python
