#pragma once

#include <memory>
#include <vector>

#include "fairlead/kernel_table.hpp"

namespace fairlead {

// Predicts neuron n where (b relu(a x) + bias)[n] > threshold: the low-rank perceptron of PowerInfer (Song et al. 2024).
struct PredictorView {
    PackedView a;  // [rank, hidden]
    PackedView b;  // [neurons, rank]
    const float* bias = nullptr;
    float threshold = 0.0F;
};

using NeuronLists = std::vector<std::vector<std::int32_t>>;

// Runs a predictor; one call at a time.
class NeuronPredictor {
public:
    explicit NeuronPredictor(const PredictorView& view) : view_(view) {}

    std::size_t neurons() const { return view_.b.rows; }

    // The predicted neurons of each vector of the input, in ascending order; lists()[t] holds those of vector t until
    // the next call. Returns the nanoseconds that it took.
    std::int64_t predict(const KernelTable& k, const QuantizedInput& input);
    const NeuronLists& lists() const { return lists_; }

    // Those of the listed neurons that one vector predicts, in the list's order, appended to `found`. The list holds
    // count + 1 entries. Leaves lists() alone. Returns the nanoseconds that it took.
    std::int64_t predict_among(const KernelTable& k, const QuantizedInput& input, const std::int32_t* listed,
                               std::size_t count, std::vector<std::int32_t>& found);

    // For benchmarks and tests: prediction i still runs, and then becomes forced[i % size]. None when empty.
    void force(NeuronLists forced) {
        forced_ = std::move(forced);
        calls_ = 0;
    }

private:
    // rounded_ = relu(a x) of the batch.
    void look(const KernelTable& k, const QuantizedInput& input);
    // Moves neurons [begin, end) with a score above the threshold to the front of that range of kept.
    std::size_t select(const float* scores, std::size_t begin, std::size_t end, std::int32_t* kept) const;
    void predict_one(const KernelTable& k, const InputView& inner, std::vector<std::int32_t>& list);
    void predict_each(const KernelTable& k, std::size_t batch);

    PredictorView view_;
    NeuronLists lists_, forced_;
    std::size_t calls_ = 0;
    std::vector<float> inner_, scores_;
    std::vector<std::int32_t> kept_;
    std::vector<std::uint32_t> found_;
    QuantizedInput rounded_;
};

}  // namespace fairlead
