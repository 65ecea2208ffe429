// What a token computes of a streamed layer: what is there first, then what arrives.
#include <algorithm>
#include <stdexcept>

#include "fairlead/packed_operators.hpp"
#include "fairlead/streamed_feed_forward.hpp"

namespace fairlead {
namespace {

// Candidates computed before arrivals are looked after, where reads wait for buffers and must not run dry.
constexpr std::size_t kPiece = 256;
// Arrivals that are worth a hand-over to the threads where more reads depend on their gates.
constexpr std::size_t kFewArrivals = 16;

}  // namespace

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
