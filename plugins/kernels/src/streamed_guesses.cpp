// What a streamed layer asks for before its attention, so that reads are under way meanwhile.
#include <algorithm>

#include "fairlead/packed_operators.hpp"
#include "fairlead/streamed_feed_forward.hpp"

namespace fairlead {
namespace {

// A gate row has as many columns as the layer's input, a predictor's row about a quarter of them.
constexpr std::size_t kGateRowCost = 4;

}  // namespace

void StreamedFeedForward::prefetch() {
    guarded([&] {
        store_->take_back();
        store_->prefetch(layer_.network);
    });
}

bool StreamedFeedForward::wants_guess() {
    return (layer_.predictor != nullptr || layer_.gates.data != nullptr) && look_ahead_.due();
}

// Those that were not looked up lately stay out: they are many, and a tenth of what is missing.
void StreamedFeedForward::list_absent() {
    StreamScratch& s = *scratch_;
    const std::size_t together = store_->shape().cluster_neurons;
    s.absent.clear();
    for (std::size_t place = 0; place < neurons(); ++place) {
        const BundleStore::Item item = store_->item(layer_.network, together == 1 ? place : place / together);
        if (store_->cache().peek(item) == NeuronCache::kNone && store_->cache().count(item) > 0) s.absent.push_back(layer_.order[place]);
    }
}

// Without a predictor the gates in memory tell which of the absent neurons would be active.
void StreamedFeedForward::gate_among(const KernelTable& k, std::size_t count) {
    StreamScratch& s = *scratch_;
    s.gate.resize(std::max(s.gate.size(), count + 1));
    multiply_packed(k, layer_.gates, s.absent.data(), count, s.guessed_input, s.gate.data(), count);
    add_bias_of(layer_.gate_bias, s.absent.data(), 0, count, s.gate.data());
    k.gate(layer_.activation, layer_.threshold, s.gate.data(), count);
    for (std::size_t i = 0; i < count; ++i) {
        if (s.gate[i] != 0.0F) s.expected.push_back(s.absent[i]);
    }
}

// How many rows of an ordinary predictor one row costs that a guess looks at.
std::size_t StreamedFeedForward::row_cost() const {
    return layer_.predictor != nullptr ? 1 : kGateRowCost;
}

void StreamedFeedForward::prefetch_for(const KernelTable& k, const float* x, Work& work) {
    StreamScratch& s = *scratch_;
    list_absent();
    const std::size_t count = s.absent.size();
    s.expected.clear();
    if (count > 0) {
        s.absent.push_back(0);
        quantize_input(k, x, 1, store_->shape().hidden, s.guessed_input);
        if (layer_.predictor != nullptr) {
            work.predictor_ns += layer_.predictor->predict_among(k, s.guessed_input, s.absent.data(), count, s.expected);
        } else {
            gate_among(k, count);
        }
    }
    guarded([&] {
        std::size_t asked = 0;
        // Others keep the larger part of a small cache.
        for (std::size_t i = 0; i < s.expected.size() && 4 * asked < store_->cache().slots(); ++i) {
            asked += store_->guess(item_of(s.expected[i])) ? 1 : 0;
        }
        store_->start();
        look_ahead_.guessed(count * row_cost(), asked);
    });
}

bool StreamedFeedForward::prefetch_whole(std::size_t parts) {
    // Others keep the larger part of a small cache, and what is sure to be needed does not wait behind what is asked for.
    const std::size_t buffered = store_->options().depth * store_->options().run / 2;
    const std::size_t most = std::max<std::size_t>(1, std::min(store_->cache().slots() / 4, buffered) / parts);
    const std::size_t clusters = store_->shape().clusters(layer_.network);
    std::size_t asked = 0;
    guarded([&] {
        store_->take_back();
        store_->prefetch(layer_.network);
        for (std::size_t c = 0; c < clusters && asked < most; ++c) {
            asked += store_->guess(store_->item(layer_.network, c)) ? 1 : 0;
        }
        store_->start();
    });
    return asked > 0;
}

}  // namespace fairlead
