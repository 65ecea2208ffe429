#include "fairlead/streamed_feed_forward.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "fairlead/packed_operators.hpp"

namespace fairlead {
namespace {

// Candidates computed before arrivals are looked after, where reads wait for buffers and must not run dry.
constexpr std::size_t kPiece = 256;
// How far ahead of a claim its entries in the cache are fetched.
constexpr std::size_t kFar = 24, kNear = 12;

// Arrivals that are worth a hand-over to the threads where more reads depend on their gates.
constexpr std::size_t kFewArrivals = 16;

// What is known of a candidate's gate.
constexpr std::uint8_t kUnknown = 0, kSilent = 1, kActive = 2;

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

void StreamedFeedForward::prefetch() {
    guarded([&] {
        store_->take_back();
        store_->prefetch(layer_.network);
    });
}

bool StreamedFeedForward::wants_guess() { return layer_.predictor != nullptr && look_ahead_.due(); }

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

void StreamedFeedForward::prefetch_for(const KernelTable& k, const float* x, Work& work) {
    StreamScratch& s = *scratch_;
    list_absent();
    const std::size_t count = s.absent.size();
    s.expected.clear();
    if (count > 0) {
        s.absent.push_back(0);
        quantize_input(k, x, 1, store_->shape().hidden, s.guessed_input);
        work.predictor_ns += layer_.predictor->predict_among(k, s.guessed_input, s.absent.data(), count, s.expected);
    }
    guarded([&] {
        std::size_t asked = 0;
        // Others keep the larger part of a small cache.
        for (std::size_t i = 0; i < s.expected.size() && 4 * asked < store_->cache().slots(); ++i) {
            asked += store_->guess(item_of(s.expected[i])) ? 1 : 0;
        }
        store_->start();
        look_ahead_.guessed(count, asked);
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

void StreamedFeedForward::compute_window(const Call& call) {
    StreamScratch& s = *scratch_;
    store_->start();
    const std::vector<std::int32_t> ready = s.positions;
    s.came.clear();
    std::size_t last = 0;
    for (std::size_t i = 0; i < ready.size(); i = last) {
        last = store_->queued() ? std::min(ready.size(), i + kPiece) : ready.size();
        s.positions.assign(ready.begin() + static_cast<std::ptrdiff_t>(i), ready.begin() + static_cast<std::ptrdiff_t>(last));
        gate_and_up(call, s.positions.size());
        if (store_->queued()) gather(false);
    }
    // A gate may ask for another read; else what arrives is computed when all of it is there, in one hand-over.
    const std::size_t enough = store_->shape().two_phases() ? kFewArrivals : s.value.size();
    while (waiting_ > 0 || !s.came.empty()) {
        while (waiting_ > 0 && s.came.size() < enough) {
            if (!gather(true)) throw std::logic_error("cache: waits for a read that was never started");
        }
        s.positions.swap(s.came);
        s.came.clear();
        gate_and_up(call, s.positions.size());
    }
}

// Lists the positions that what has arrived was waited for by.
bool StreamedFeedForward::gather(bool wait) {
    StreamScratch& s = *scratch_;
    s.arrived.clear();
    if (!store_->collect(wait, s.arrived)) return false;
    for (const BundleStore::Slot slot : s.arrived) {
        std::int32_t& head = s.head[static_cast<std::size_t>(slot)];
        for (std::int32_t i = head; i >= 0; i = s.next[static_cast<std::size_t>(i)]) {
            s.came.push_back(i);
            --waiting_;
        }
        head = -1;
    }
    return true;
}

// Gates of the first `count` positions that have none; positions whose gate is zero, or whose up row must be read
// first, leave the list.
void StreamedFeedForward::gates(const Call& call, std::size_t count) {
    StreamScratch& s = *scratch_;
    std::vector<std::int32_t>& rows = s.contributing;
    std::vector<std::int32_t>& asking = s.asking;
    rows.clear();
    asking.clear();
    for (std::size_t i = 0; i < count; ++i) {
        const auto position = static_cast<std::size_t>(s.positions[i]);
        if (s.gated[position] != kUnknown) continue;
        rows.push_back(s.rows[position]);
        asking.push_back(s.neurons[position]);
    }
    const std::size_t asked = rows.size();
    s.gate.resize(asked + 1);
    if (asked > 0) multiply_packed(call.k, store_->rows(Part::gate), rows.data(), asked, s.input, s.gate.data(), asked);
    add_bias_of(layer_.gate_bias, asking.data(), 0, asked, s.gate.data());
    call.k.gate(layer_.activation, layer_.threshold, s.gate.data(), asked);
    std::size_t kept = 0;
    std::size_t next = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const auto position = static_cast<std::size_t>(s.positions[i]);
        if (s.gated[position] == kUnknown) {
            s.value[position] = s.gate[next++];
            s.gated[position] = s.value[position] != 0.0F ? kActive : kSilent;
        }
        if (s.value[position] == 0.0F) continue;
        const auto slot = static_cast<BundleStore::Slot>(static_cast<std::size_t>(s.rows[position]) /
                                                         store_->shape().cluster_neurons);
        if (store_->whole(slot)) {
            s.positions[kept++] = s.positions[i];
        } else {
            store_->demand_rest(slot);
            wait_for(position, slot);
        }
    }
    s.positions.resize(kept);
    store_->start();
}

// value = gate * up of the first `count` positions, as far as everything is there; the gate alone where there is no up.
void StreamedFeedForward::gate_and_up(const Call& call, std::size_t count) {
    StreamScratch& s = *scratch_;
    if (!call.gates_known) gates(call, count);
    count = s.positions.size();
    if (count == 0 || !gated()) return;
    s.contributing.resize(count);
    s.gate.resize(count + 1);
    s.up.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        const auto position = static_cast<std::size_t>(s.positions[i]);
        s.contributing[i] = s.rows[position];
        s.gate[i] = s.value[position];
    }
    multiply_packed(call.k, store_->rows(Part::up), s.contributing.data(), count, s.input, s.up.data(), count);
    call.k.multiply_up(layer_.activation, s.up.data(), s.gate.data(), count);
    for (std::size_t i = 0; i < count; ++i) s.value[static_cast<std::size_t>(s.positions[i])] = s.gate[i];
}

void StreamedFeedForward::add_down(const Call& call, std::size_t begin, std::size_t end, bool first, float* y) {
    StreamScratch& s = *scratch_;
    s.contributing.resize(end - begin + 1);
    s.gate.resize(end - begin + 1);
    std::copy(s.value.begin() + static_cast<std::ptrdiff_t>(begin), s.value.begin() + static_cast<std::ptrdiff_t>(end),
              s.gate.begin());
    const std::size_t terms = compact(s.rows.data() + begin, end - begin, s.gate.data(), s.contributing.data());
    sum_packed(call.k, store_->rows(Part::down), s.contributing.data(), s.gate.data(), terms, y, !first);
}

void StreamedFeedForward::finish_counts(std::size_t count, Work& work) {
    StreamScratch& s = *scratch_;
    std::size_t active = 0;
    for (std::size_t i = 0; i < count; ++i) {
        s.neurons[active] = s.neurons[i];
        active += s.gated[i] == kActive ? 1 : 0;
    }
    work.active += static_cast<std::int64_t>(active);
    count_active(s.neurons.data(), active);
}

}  // namespace fairlead
