#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fairlead/kernel_table.hpp"
#include "fairlead/vectors/beam.hpp"
#include "fairlead/vectors/graph.hpp"

namespace fairlead::vectors {

// Which vertices a search may find.
struct GraphFilter {
    const std::uint8_t* allowed = nullptr;  // a bit a slot
    std::size_t bytes = 0;
    bool everything = true;  // nothing is removed or forbidden: the beam is the answer

    bool passes(std::uint32_t slot) const {
        if (slot == Graph::kNone) return false;
        return allowed == nullptr || (slot / 8 < bytes && (allowed[slot / 8] >> (slot % 8) & 1) != 0);
    }
};

// One query's walk as a state machine, so that a thread can take several by turns: each turn ends where the next one's
// bytes have been asked for (prefetched), and other queries' turns hide the time that they take to come.
class GraphWalk {
public:
    explicit GraphWalk(const Graph& graph) : graph_(&graph) {}

    // Keeps the `most` nearest vertices that pass the filter.
    void start(const std::int8_t* code, std::size_t beam, std::size_t most, const GraphFilter& filter,
               const KernelTable& kernels) {
        code_ = code;
        score_ = graph_->encoder_.bits == 4 ? kernels.score_nibbles : kernels.score_lines;
        filter_ = filter;
        beam_.reset(beam);
        passed_.reset(filter.everything ? 0 : most);
        hops_ = scored_ = 0;
        if (beam > 0) enter();
        next_vertex();
    }

    // Scores 64 vertices or fewer.
    void score(const std::uint32_t* vertices, std::size_t count) {
        std::int32_t scores[64];
        const std::int32_t limit = filter_.everything ? beam_.limit() : std::max(beam_.limit(), passed_.limit());
        std::uint64_t near = score_(graph_->codes_.as<std::uint8_t>(), graph_->encoder_.lines, vertices, count, code_,
                                    limit, scores);
        scored_ += static_cast<std::uint32_t>(count);
        for (; near != 0; near &= near - 1) {
            const auto i = static_cast<std::size_t>(__builtin_ctzll(near));
            meet(Beam::key(scores[i], vertices[i]));
        }
    }

    // One turn; false when the walk has ended.
    bool turn() {
        if (turn_ == Turn::fetch) {
            fetch(graph_->neighbours(vertex_), graph_->width_);
            turn_ = Turn::score;
        } else if (turn_ == Turn::score) {
            const std::uint32_t width = graph_->width_;
            for (std::uint32_t first = 0; first < width; first += 64) {
                score(graph_->neighbours(vertex_) + first, std::min<std::uint32_t>(64, width - first));
            }
            ++hops_;
            next_vertex();
        }
        return turn_ != Turn::ended;
    }

    void fetch(const std::uint32_t* vertices, std::size_t count) const {
        const std::size_t stride = graph_->encoder_.code_bytes();
        for (std::size_t i = 0; i < count; ++i) {
            const std::byte* code = graph_->codes_.data() + vertices[i] * stride;
            for (std::size_t at = 0; at < stride; at += kLine) __builtin_prefetch(code + at);
        }
    }

    void keep_trail(std::vector<std::uint32_t>* trail) { trail_ = trail; }

    const Beam& found() const { return filter_.everything ? beam_ : passed_; }
    std::uint32_t hops() const { return hops_; }
    std::uint32_t scored() const { return scored_; }

private:
    enum class Turn { fetch, score, ended };
    static constexpr std::size_t kStarts = 3;

    void meet(std::uint64_t key) {
        beam_.insert(key);
        if (!filter_.everything && filter_.passes(graph_->slot_of(Beam::vertex(key)))) passed_.insert(key);
    }

    // From the nearest few of the entries, whose codes lie together.
    void enter() {
        const std::size_t count = graph_->entries_.size(), stride = graph_->encoder_.code_bytes();
        std::int32_t scores[64];
        starts_.reset(kStarts);
        for (std::size_t first = 0; first < count; first += 64) {
            std::uint64_t near = score_(graph_->entry_codes_.as<std::uint8_t>() + first * stride, graph_->encoder_.lines,
                                        nullptr, std::min<std::size_t>(64, count - first), code_, starts_.limit(),
                                        scores);
            for (; near != 0; near &= near - 1) {
                const auto i = static_cast<std::size_t>(__builtin_ctzll(near));
                starts_.insert(Beam::key(scores[i], graph_->entries_[first + i]));
            }
        }
        scored_ += static_cast<std::uint32_t>(count);
        for (std::size_t i = 0; i < starts_.size(); ++i) meet(starts_[i]);
    }

    void next_vertex() {
        const std::uint64_t key = beam_.expand();
        turn_ = key == 0 ? Turn::ended : Turn::fetch;
        if (key == 0) return;
        vertex_ = Beam::vertex(key);
        if (trail_ != nullptr) trail_->push_back(vertex_);
        const std::uint32_t* row = graph_->neighbours(vertex_);
        for (std::uint32_t i = 0; i < graph_->width_; i += 16) __builtin_prefetch(row + i);
    }

    const Graph* graph_;
    decltype(KernelTable::score_lines) score_ = nullptr;
    const std::int8_t* code_ = nullptr;
    GraphFilter filter_;
    Beam beam_, passed_, starts_;
    std::vector<std::uint32_t>* trail_ = nullptr;
    std::uint32_t vertex_ = 0;
    std::uint32_t hops_ = 0, scored_ = 0;
    Turn turn_ = Turn::ended;
};

}  // namespace fairlead::vectors
