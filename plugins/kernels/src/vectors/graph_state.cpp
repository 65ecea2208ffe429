#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>

#include "fairlead/vectors/graph.hpp"

namespace fairlead::vectors {
namespace {

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("graph: ") + what);
}

bool below(const std::vector<std::uint32_t>& values, std::size_t limit) {
    return std::all_of(values.begin(), values.end(), [limit](std::uint32_t value) { return value < limit; });
}

}  // namespace

GraphState Graph::save() const {
    const std::lock_guard writing(writing_);
    const auto lock = changing_.shared();
    const std::size_t count = vertices();
    GraphState state{slot_of_, {}, {}, {}, {}, removed_, entries_};
    state.removed.insert(state.removed.end(), leaving_.begin(), leaving_.end());
    const auto* edges = edges_.as<std::uint32_t>();
    state.edges.assign(edges, edges + count * width_);
    state.codes.assign(codes_.as<std::uint8_t>(), codes_.as<std::uint8_t>() + count * encoder_.code_bytes());
    state.rows.resize(count * rows_->stride());
    for (std::uint32_t v = 0; v < count; ++v) {
        if (rows_->stride() > 0) std::memcpy(state.rows.data() + v * rows_->stride(), rows_->row(v), rows_->stride());
        state.more.push_back(rows_->more(v));
    }
    return state;
}

void Graph::restore(const GraphState& state) {
    const std::lock_guard writing(writing_);
    const auto lock = changing_.exclusive();
    const std::size_t count = state.slots.size();
    require(vertices() == 0, "is not empty");
    require(state.edges.size() == count * width_ && below(state.edges, count), "edges: lead nowhere");
    require(state.codes.size() == count * encoder_.code_bytes(), "codes: have another size");
    require(state.rows.size() == count * rows_->stride() && state.more.size() == count, "rows: have another size");
    require(below(state.removed, count) && below(state.entries, count), "removed, entries: are no vertices");
    require(count == 0 || !state.entries.empty(), "entries: there are none");
    std::vector<std::uint8_t> removed(count, 0);
    for (const std::uint32_t v : state.removed) {
        require(state.slots[v] == kNone && removed[v]++ == 0, "removed: are not");
    }
    for (const std::uint32_t v : state.entries) {
        require(state.slots[v] != kNone || removed[v] != 0, "entries: have no vectors");
    }
    std::uint32_t most = 0;
    for (const std::uint32_t slot : state.slots) most = slot == kNone ? most : std::max(most, slot + 1);
    std::vector<std::uint32_t> vertex_of(most, kNone);
    for (std::uint32_t v = 0; v < count; ++v) {
        if (state.slots[v] == kNone) continue;
        require(vertex_of[state.slots[v]] == kNone, "slots: one is there twice");
        vertex_of[state.slots[v]] = v;
    }
    reserve(count);
    slot_of_ = state.slots;
    vertex_of_ = std::move(vertex_of);
    removed_ = state.removed;
    live_ = 0;
    for (std::uint32_t v = 0; v < count; ++v) {
        if (slot_of_[v] != kNone) ++live_;
        if (slot_of_[v] == kNone && removed[v] == 0) free_.push_back(v);
        if (rows_->stride() > 0) std::memcpy(rows_->row(v), state.rows.data() + v * rows_->stride(), rows_->stride());
        rows_->set_more(v, state.more[v]);
    }
    std::copy(state.edges.begin(), state.edges.end(), edges_.as<std::uint32_t>());
    std::copy(state.codes.begin(), state.codes.end(), codes_.as<std::uint8_t>());
    set_entries(state.entries);
}

}  // namespace fairlead::vectors
