#include <algorithm>
#include <cstring>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>

#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/lists.hpp"
#include "fairlead/vectors/tier_graph.hpp"
#include "vectors/graph_prune.hpp"
#include "vectors/tier_graph_passage.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kMostCandidates = 128;
// Records that a walk for a new vertex asks for together: nobody waits for it, so it may ask for more than it needs.
constexpr std::uint32_t kWidth = 8;
// Neighbours of a removed vertex that others may have in its place: rows begin with the nearest.
constexpr std::size_t kBridged = 12;
// Vertices whose edges are read together.
constexpr std::size_t kRowsAtOnce = 256;

}  // namespace

void TierGraph::check_new(std::span<const std::uint32_t> slots) const {
    std::vector<std::uint32_t> sorted(slots.begin(), slots.end());
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        if (vertex_of(sorted[i]) != kNone || (i > 0 && sorted[i] == sorted[i - 1])) {
            throw std::invalid_argument("slots: " + std::to_string(sorted[i]) + " is in the graph already");
        }
    }
}

std::vector<std::vector<std::uint32_t>> TierGraph::read_edges(Tier& tier, std::span<const std::uint32_t> vertices) const {
    const std::size_t bytes = layout_.edge_bytes();
    std::vector<std::byte> packed(vertices.size() * bytes);
    std::vector<TierRead> reads;
    for (std::size_t i = 0; i < vertices.size(); ++i) {
        reads.push_back({layout_.edges_at(vertices[i]), static_cast<std::uint32_t>(bytes), packed.data() + i * bytes});
    }
    if (!reads.empty()) tier.wait(tier.submit(reads));
    std::vector<std::vector<std::uint32_t>> rows(vertices.size(), std::vector<std::uint32_t>(layout_.degree));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        unpack_ids(packed.data() + i * bytes, layout_.degree, layout_.id_bits, rows[i].data());
        rows[i].erase(std::find(rows[i].begin(), rows[i].end(), vertices[i]), rows[i].end());
        for (const std::uint32_t id : rows[i]) {
            if (id >= this->vertices()) throw TierLost(tier.url(), "holds other bytes than were written: edges that lead nowhere");
        }
    }
    return rows;
}

// A row as it is written: where there are fewer the vertex itself follows.
std::vector<std::uint32_t> TierGraph::padded(std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours) const {
    std::vector<std::uint32_t> row(neighbours.begin(),
                                   neighbours.begin() + static_cast<std::ptrdiff_t>(
                                                            std::min<std::size_t>(neighbours.size(), layout_.degree)));
    row.resize(layout_.degree, vertex);
    return row;
}

void TierGraph::write_edges(Tier& tier, const Changed& changed) {
    std::vector<std::byte> packed(layout_.edge_bytes());
    pack_ids(padded(changed.vertex, changed.neighbours).data(), layout_.degree, layout_.id_bits, packed.data());
    tier.write(layout_.edges_at(changed.vertex), packed);
    // Edges come first in what is kept, too.
    if (std::byte* record = kept(changed.vertex)) std::memcpy(record, packed.data(), packed.size());
}

void TierGraph::write_record(Tier& tier, std::uint32_t vertex, const std::vector<std::uint32_t>& neighbours,
                             const std::byte* vector) {
    const std::span<const std::byte> whole(vector, layout_.vector_bytes);
    tier.write(layout_.vector_at(vertex), whole);
    const auto lock = changing_.exclusive();
    write_edges(tier, {vertex, neighbours});
    std::byte* record = kept(vertex);
    if (record != nullptr && layout_.beside()) std::memcpy(record + layout_.edge_bytes(), vector, whole.size());
}

// A free vertex, or one behind the others; it has no slot yet.
std::uint32_t TierGraph::take_place(std::uint64_t room) {
    if (!free_.empty()) {
        const std::uint32_t vertex = free_.back();
        free_.pop_back();
        return vertex;
    }
    if (slot_of_.size() >= room) throw TierFull("no room: the region holds " + std::to_string(room) + " vertices of this graph");
    const auto lock = changing_.exclusive();
    if (slot_of_.size() == room_) reserve(room_ + room_ / 8 + 64);
    slot_of_.push_back(kNone);
    return static_cast<std::uint32_t>(slot_of_.size() - 1);
}

std::vector<std::uint32_t> TierGraph::trail(Tier& tier, std::uint32_t vertex) const {
    std::vector<std::int8_t> walked(encoder_.code_bytes());
    encoder_.query_of_code(codes_.as<std::uint8_t>() + vertex * encoder_.code_bytes(), walked.data());
    const std::vector<std::byte> nowhere(layout_.vector_bytes);
    std::int64_t slot, bytes;
    float distance;
    std::int32_t counts[3];
    TierGraphSearch options;
    options.k = options.rerank = 1;
    options.beam = settings_.beam;
    options.width = kWidth;
    const TierGraphFound found{&slot, &distance, counts, counts + 1, counts + 2, &bytes};
    const bool direct = tier.size() > 0 && tier.direct(0) != nullptr;
    std::byte* zone = direct ? nullptr : tier.landing(kWidth * TierGraphPassage::place_bytes(layout_)).data();
    TierGraphPassage passage(*this, tier, zone, kWidth);
    passage.start({nowhere.data(), &options, &found}, walked.data(), nullptr, kernels_in_use());
    for (auto turn = passage.turn(); turn != TierGraphPassage::Turn::finished; turn = passage.turn()) {
        if (turn == TierGraphPassage::Turn::waiting) tier.wait(passage.ticket());
    }
    std::vector<std::uint32_t> expanded = passage.expanded();
    std::erase_if(expanded, [this](std::uint32_t other) { return is_gone(other); });
    return expanded;
}

void TierGraph::insert(Tier& tier, std::span<const std::uint32_t> slots, const std::byte* vectors) {
    const std::lock_guard writing(writing_);
    check_new(slots);
    const std::size_t bytes = encoder_.code_bytes();
    std::vector<std::uint8_t> codes(slots.size() * bytes);
    encoder_.encode(vectors, slots.size(), codes.data(), nullptr, nullptr);
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const std::uint32_t vertex = take_place(layout_.most(tier.size()));
        std::memcpy(codes_.data() + vertex * bytes, codes.data() + i * bytes, bytes);
        try {
            insert_one(tier, slots[i], vertex, vectors + i * layout_.vector_bytes);
        } catch (...) {
            // Edges may lead to it already.
            const auto lock = changing_.exclusive();
            removed_.push_back(vertex);
            throw;
        }
    }
}

void TierGraph::insert_one(Tier& tier, std::uint32_t slot, std::uint32_t vertex, const std::byte* vector) {
    GraphPruner pruner(*leading_, layout_.degree, settings_.alpha, kMostCandidates);
    const std::vector<std::uint32_t> own = pruner.prune(vertex, trail(tier, vertex));
    write_record(tier, vertex, own, vector);
    std::vector<std::vector<std::uint32_t>> rows = read_edges(tier, own);
    std::vector<Changed> changes;
    for (std::size_t i = 0; i < own.size(); ++i) {
        std::vector<std::uint32_t>& row = rows[i];
        if (row.size() < layout_.degree) {
            row.push_back(vertex);
            changes.push_back({own[i], row});
        } else if (!pruner.needless(own[i], row, vertex)) {
            row.push_back(vertex);
            changes.push_back({own[i], pruner.prune(own[i], row)});
        }
    }
    const auto lock = changing_.exclusive();
    for (const Changed& changed : changes) write_edges(tier, changed);
    // No edge leads there: walks begin there.
    if (changes.empty()) {
        std::vector<std::uint32_t> entries = entries_;
        entries.push_back(vertex);
        set_entries(std::move(entries));
    }
    if (slot >= vertex_of_.size()) vertex_of_.resize(slot + std::size_t{1}, kNone);
    set_slot(vertex, slot);
    vertex_of_[slot] = vertex;
    ++live_;
}

std::size_t TierGraph::remove(std::span<const std::uint32_t> slots) {
    const auto lock = changing_.exclusive();
    std::size_t count = 0;
    for (const std::uint32_t slot : slots) {
        const std::uint32_t vertex = vertex_of(slot);
        if (vertex == kNone) continue;
        set_slot(vertex, kNone);
        vertex_of_[slot] = kNone;
        removed_.push_back(vertex);
        --live_;
        ++count;
    }
    return count;
}

// Those entries that are still there, and others in the place of the rest.
std::vector<std::uint32_t> TierGraph::renewed_entries() const {
    std::vector<std::uint32_t> kept = entries_, others;
    std::erase_if(kept, [this](std::uint32_t v) { return is_gone(v); });
    if (kept.size() >= settings_.entries) return kept;
    std::vector<std::uint8_t> is_kept(vertices(), 0);
    for (const std::uint32_t v : kept) is_kept[v] = 1;
    for (std::uint32_t v = 0; v < vertices(); ++v) {
        if (!is_gone(v) && is_kept[v] == 0) others.push_back(v);
    }
    std::mt19937_64 random(settings_.seed + 1);
    while (kept.size() < settings_.entries && !others.empty()) {
        std::swap(others[random() % others.size()], others.back());
        kept.push_back(others.back());
        others.pop_back();
    }
    return kept;
}

std::vector<TierGraph::Changed> TierGraph::bridged(Tier& tier, GraphPruner& pruner, std::size_t first,
                                                   std::size_t last) const {
    const auto is_gone = [this](std::uint32_t v) { return this->is_gone(v); };
    std::vector<std::uint32_t> there, gone;
    for (auto v = static_cast<std::uint32_t>(first); v < last; ++v) {
        if (!is_gone(v)) there.push_back(v);
    }
    const std::vector<std::vector<std::uint32_t>> rows = read_edges(tier, there);
    for (const auto& row : rows) std::copy_if(row.begin(), row.end(), std::back_inserter(gone), is_gone);
    std::sort(gone.begin(), gone.end());
    gone.erase(std::unique(gone.begin(), gone.end()), gone.end());
    const std::vector<std::vector<std::uint32_t>> behind = read_edges(tier, gone);
    std::vector<Changed> changes;
    for (std::size_t i = 0; i < there.size(); ++i) {
        std::vector<std::uint32_t> candidates = rows[i];
        bool leads_there = false;
        for (const std::uint32_t other : rows[i]) {
            const auto at = std::lower_bound(gone.begin(), gone.end(), other);
            if (at == gone.end() || *at != other) continue;
            leads_there = true;
            const std::vector<std::uint32_t>& its = behind[static_cast<std::size_t>(at - gone.begin())];
            const std::size_t some = std::min(kBridged, its.size());
            candidates.insert(candidates.end(), its.begin(), its.begin() + static_cast<std::ptrdiff_t>(some));
        }
        if (!leads_there) continue;
        std::erase_if(candidates, is_gone);
        changes.push_back({there[i], pruner.prune(there[i], candidates)});
    }
    return changes;
}

bool TierGraph::consolidate(Tier& tier, std::size_t most) {
    const std::lock_guard writing(writing_);
    if (leaving_.empty()) {
        const auto lock = changing_.exclusive();
        if (removed_.empty()) return true;
        leaving_.swap(removed_);
        looked_at_ = 0;
    }
    GraphPruner pruner(*leading_, layout_.degree, settings_.alpha, kMostCandidates);
    const std::size_t end = looked_at_ + std::min(most, vertices() - looked_at_);
    while (looked_at_ < end) {
        const std::size_t last = std::min(end, looked_at_ + kRowsAtOnce);
        const std::vector<Changed> changes = bridged(tier, pruner, looked_at_, last);
        const auto lock = changing_.exclusive();
        for (const Changed& changed : changes) write_edges(tier, changed);
        looked_at_ = last;
    }
    if (end < vertices()) return false;
    const auto lock = changing_.exclusive();
    set_entries(renewed_entries());
    free_.insert(free_.end(), leaving_.begin(), leaving_.end());
    leaving_.clear();
    return removed_.empty();
}

}  // namespace fairlead::vectors
