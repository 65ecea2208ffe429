#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fairlead/kernel_table.hpp"
#include "fairlead/vectors/beam.hpp"
#include "fairlead/vectors/space.hpp"
#include "fairlead/vectors/tier_graph.hpp"
#include "vectors/graph_walk.hpp"

namespace fairlead::vectors {

// A query and where its answer goes. What it points to stays until it is finished.
struct TierGraphAsk {
    const std::byte* query = nullptr;
    const TierGraphSearch* options = nullptr;
    const TierGraphFound* found = nullptr;
    std::size_t at = 0;  // row of `found`
    bool later = false;  // of many: gives way to those that came alone
    void* owner = nullptr;
};

// A query on its way, as a state machine. A walk's round takes the nearest few vertices of its beam, asks the tier for
// their records and, once they are there, the memory for the codes of their neighbours, which it then scores; in the end
// what is yet to be compared exactly is read in one batch. Each turn ends where something has been asked for.
class TierGraphPassage {
public:
    enum class Turn { working, waiting, finished };

    // `zone`: of `places` vectors or records, whole lines each; null for tiers that are read in place.
    TierGraphPassage(const TierGraph& graph, Tier& tier, std::byte* zone, std::size_t places);

    // Bytes of a place.
    static std::size_t place_bytes(const TierGraphLayout& layout) {
        return whole_lines(std::max(layout.read_bytes(), layout.vector_bytes));
    }

    // `walked`: the query's code. `scanned`: vertices that are scored in place of a walk; null: walk.
    void start(const TierGraphAsk& ask, const std::int8_t* walked, const std::vector<std::uint32_t>* scanned,
               const KernelTable& kernels);
    // The tier is asked after the ticket before a turn that follows `waiting`.
    Turn turn();
    std::uint64_t ticket() const { return ticket_; }
    const TierGraphAsk& ask() const { return ask_; }
    // Vertices whose edges were looked at, in their order.
    const std::vector<std::uint32_t>& expanded() const { return expanded_; }

private:
    enum class Stage { round, arrived, score, rank };
    struct Nearest {
        float distance;
        std::uint32_t vertex;
        auto operator<=>(const Nearest&) const = default;
    };

    void enter();
    void score(const std::uint32_t* vertices, const std::uint8_t* codes, std::size_t count);
    void meet(std::uint64_t key);
    Turn begin_round();
    void take_records();
    void take_edges(std::uint32_t vertex, const std::byte* packed);
    void score_neighbours();
    Turn choose_last();
    Turn begin_rank();
    Turn submit(std::size_t count, std::size_t bytes);
    void measure(const std::byte* base, const std::uint32_t* vertices, std::size_t count);
    void estimate();
    void answer();
    void fetch(const std::byte* from, std::size_t bytes) const;

    const TierGraph& graph_;
    Tier& tier_;
    const std::byte* direct_;
    std::byte* zone_;
    std::size_t places_, place_bytes_;
    const KernelTable* kernels_ = nullptr;
    TierGraphAsk ask_;
    const std::int8_t* code_ = nullptr;
    GraphFilter filter_;
    SpaceQuery query_;
    Beam beam_, passed_, starts_;
    Stage stage_ = Stage::round;
    std::uint64_t ticket_ = 0;
    std::vector<std::uint32_t> asked_;                // vertices whose records are on their way
    std::vector<std::uint32_t> neighbours_;           // whose codes are on their way
    std::vector<std::uint32_t> expanded_;
    std::vector<std::uint32_t> last_;                 // whose vectors are still to be read
    std::size_t ranked_ = 0;                          // of last_
    std::vector<Nearest> nearest_;                    // compared exactly
    std::vector<TierRead> reads_;
    std::vector<std::uint32_t> offsets_;
    std::vector<float> distances_;
    std::int32_t hops_ = 0, read_ = 0, trips_ = 0;
    std::int64_t bytes_ = 0;
};

}  // namespace fairlead::vectors
