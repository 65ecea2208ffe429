#include "fairlead/streamed_feed_forward.hpp"

#include <algorithm>
#include <stdexcept>

#include "fairlead/packed_operators.hpp"

namespace fairlead {
namespace {

// How far ahead of a claim its entries in the cache are fetched.
constexpr std::size_t kFar = 24, kNear = 12;

}  // namespace

StreamedFeedForward::StreamedFeedForward(std::shared_ptr<BundleStore> store, std::shared_ptr<StreamScratch> scratch,
                                         StreamedLayer layer)
    : store_(std::move(store)), scratch_(std::move(scratch)), layer_(std::move(layer)), place_(layer_.order.size(), -1) {
    const BundleShape& shape = store_->shape();
    if (layer_.network >= shape.networks.size() || layer_.order.size() != shape.networks[layer_.network].neurons) {
        throw std::invalid_argument("order: must have one entry for each neuron of the network");
    }
    for (std::size_t place = 0; place < place_.size(); ++place) {
        const auto neuron = static_cast<std::size_t>(layer_.order[place]);
        if (neuron >= place_.size() || place_[neuron] >= 0) {
            throw std::invalid_argument("order: must hold each neuron once");
        }
        place_[neuron] = static_cast<std::int32_t>(place);
    }
    const PackedView& gates = layer_.gates;
    if ((gates.data != nullptr) != shape.resident_gates ||
        (gates.data != nullptr && (gates.rows != neurons() || gates.columns != shape.hidden))) {
        throw std::invalid_argument("gates: must be [neurons, hidden] where the store keeps none, else None");
    }
    if (layer_.predictor != nullptr && layer_.predictor->neurons() != neurons()) {
        throw std::invalid_argument("predictor: must predict each neuron of the network");
    }
}

void StreamedFeedForward::step(const KernelTable& k, const float* x, float* y, Work& work) {
    StreamScratch& s = *scratch_;
    quantize_input(k, x, 1, store_->shape().hidden, s.input);
    const std::int32_t* chosen = nullptr;
    std::size_t count = neurons();
    if (layer_.predictor != nullptr) {
        work.predictor_ns += layer_.predictor->predict(k, s.input);
        const std::vector<std::int32_t>& list = layer_.predictor->lists()[0];
        s.neurons.assign(list.begin(), list.end());
        s.neurons.push_back(0);
        chosen = s.neurons.data();
        count = list.size();
    }
    guarded([&] { compute({k, work, store_->shape().resident_gates}, candidates(k, chosen, count, work), y); });
}

void StreamedFeedForward::step_selected(const KernelTable& k, const float* x, const std::int32_t* neurons,
                                        std::size_t count, float* y, Work& work) {
    StreamScratch& s = *scratch_;
    quantize_input(k, x, 1, store_->shape().hidden, s.input);
    s.neurons.assign(neurons, neurons + count);
    s.neurons.push_back(0);
    guarded([&] {
        compute({k, work, store_->shape().resident_gates}, candidates(k, s.neurons.data(), count, work), y);
    });
}

std::size_t StreamedFeedForward::candidates(const KernelTable& k, const std::int32_t* chosen, std::size_t count,
                                            Work& work) {
    StreamScratch& s = *scratch_;
    work.predicted += static_cast<std::int64_t>(count);
    work.computed += static_cast<std::int64_t>(count);
    s.value.resize(count + 1);
    s.neurons.resize(count + 1);
    if (chosen == nullptr) {
        for (std::size_t i = 0; i < count; ++i) s.neurons[i] = static_cast<std::int32_t>(i);
    }
    if (layer_.gates.data == nullptr) return count;
    multiply_packed(k, layer_.gates, chosen, count, s.input, s.value.data(), count);
    add_bias_of(layer_.gate_bias, chosen, 0, count, s.value.data());
    k.gate(layer_.activation, layer_.threshold, s.value.data(), count);
    return compact(s.neurons.data(), count, s.value.data(), s.neurons.data());
}

void StreamedFeedForward::compute(const Call& call, std::size_t count, float* y) {
    StreamScratch& s = *scratch_;
    store_->take_back();
    s.rows.resize(count + 1);
    s.next.resize(count + 1);
    s.gated.assign(count, call.gates_known ? kActive : kUnknown);
    s.head.resize(std::max(s.head.size(), store_->cache().slots()), -1);
    std::size_t begin = 0;
    s.arrived.clear();
    store_->collect(false, s.arrived);  // what has come meanwhile is computed together with what was there
    do {
        const std::size_t end = claim(call, begin, count);
        compute_window(call);
        add_down(call, begin, end, begin == 0, y);
        store_->finish();
        begin = end;
    } while (begin < count);
    add_bias_of(layer_.down_bias, nullptr, 0, store_->shape().hidden, y);
    finish_counts(count, call.work);
    store_->account(call.work);
}

BundleStore::Item StreamedFeedForward::item_of(std::int32_t neuron) const {
    const auto place = static_cast<std::size_t>(place_[static_cast<std::size_t>(neuron)]);
    const std::size_t together = store_->shape().cluster_neurons;
    return store_->item(layer_.network, together == 1 ? place : place / together);
}

std::int32_t StreamedFeedForward::row_of(std::size_t position, BundleStore::Slot slot) const {
    const std::size_t together = store_->shape().cluster_neurons;
    if (together == 1) return slot;
    const auto place = static_cast<std::size_t>(place_[static_cast<std::size_t>(scratch_->neurons[position])]);
    return static_cast<std::int32_t>(static_cast<std::size_t>(slot) * together + place % together);
}

void StreamedFeedForward::wait_for(std::size_t position, BundleStore::Slot slot) {
    StreamScratch& s = *scratch_;
    s.next[position] = s.head[static_cast<std::size_t>(slot)];
    s.head[static_cast<std::size_t>(slot)] = static_cast<std::int32_t>(position);
    ++waiting_;
}

// Claims clusters for candidates from `begin` on, as long as there is room; returns where it ended. Positions that
// can be computed at once are listed.
std::size_t StreamedFeedForward::claim(const Call& call, std::size_t begin, std::size_t end) {
    StreamScratch& s = *scratch_;
    std::int64_t* const hits[] = {&call.work.fixed_hits, &call.work.hot_hits, &call.work.cold_hits};
    waiting_ = 0;
    s.positions.clear();
    std::size_t i = begin;
    for (; i < end; ++i) {
        if (i + kFar < end) store_->expect(item_of(s.neurons[i + kFar]));
        if (i + kNear < end) store_->expect_entry(item_of(s.neurons[i + kNear]));
        const BundleStore::Item item = item_of(s.neurons[i]);
        BundleStore::Slot slot = store_->claim(item);
        while (slot == NeuronCache::kNone && i == begin) {
            // Only what was prefetched is in the way.
            s.arrived.clear();
            const bool pending = store_->collect(true, s.arrived);
            store_->finish();
            slot = store_->claim(item);
            if (slot == NeuronCache::kNone && !pending) throw std::logic_error("cache: no slot can be freed");
        }
        if (slot == NeuronCache::kNone) break;
        s.rows[i] = row_of(i, slot);
        const bool ready = store_->has_first(slot);
        const bool guessed = store_->take_guess(slot);
        if (guessed) look_ahead_.confirmed();
        const bool hit = ready && !guessed;
        ++(hit ? *hits[static_cast<std::size_t>(store_->cache().region(slot))] : call.work.misses);
        if (ready) {
            s.positions.push_back(static_cast<std::int32_t>(i));
        } else {
            wait_for(i, slot);
        }
    }
    return i;
}

}  // namespace fairlead
