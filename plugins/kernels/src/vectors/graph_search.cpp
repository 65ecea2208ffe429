#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/graph.hpp"
#include "vectors/graph_walk.hpp"
#include "vectors/workers.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kChunk = 64;

// What a chunk of queries shares.
struct Search {
    const Graph& graph;
    const GraphQueries& queries;
    const GraphAnswers& answers;
    GraphFilter filter;
    std::vector<std::uint32_t> scanned;  // all vertices that pass, where they are scored without a walk
};

// The codes of a chunk's queries.
class Codes {
public:
    Codes(const Search& search, std::size_t first, std::size_t count) : search_(search), first_(first) {
        const WalkEncoder& encoder = search.graph.encoder();
        const std::size_t size = encoder.code_bytes();
        codes_.resize(count * size);
        walked_.resize(count * size);
        whole_.resize(search.graph.exact() ? 0 : count * encoder.query_floats());
        encoder.encode_queries(vector(first), count, codes_.data(), whole_.empty() ? nullptr : whole_.data());
        for (std::size_t i = 0; i < count; ++i) encoder.query_of_code(codes_.data() + i * size, walked(first + i));
    }

    std::int8_t* walked(std::size_t query) {
        return walked_.data() + (query - first_) * search_.graph.encoder().code_bytes();
    }

    // What rows are compared with.
    const std::byte* exact(std::size_t query) const {
        if (whole_.empty()) return vector(query);
        const float* whole = whole_.data() + (query - first_) * search_.graph.encoder().query_floats();
        return reinterpret_cast<const std::byte*>(whole);
    }

private:
    const std::byte* vector(std::size_t query) const {
        return search_.queries.vectors + query * search_.graph.encoder().space.bytes();
    }

    const Search& search_;
    std::size_t first_;
    std::vector<std::uint8_t> codes_;
    std::vector<float> whole_;
    std::vector<std::int8_t> walked_;
};

// A query on its way through a thread: its walk, then its candidates' rows asked for, then their distances.
class Passage {
public:
    Passage(const Search& search, Codes& codes) : search_(search), codes_(codes), walk_(search.graph) {}

    void start(std::size_t query, const KernelTable& kernels) {
        query_ = query;
        walking_ = true;
        walk_.start(codes_.walked(query), search_.queries.scan ? 0 : search_.queries.beam, search_.queries.rerank,
                    search_.filter, kernels);
        const std::vector<std::uint32_t>& all = search_.scanned;
        for (std::size_t first = 0; first < all.size(); first += kScanned) {
            const std::size_t ahead = std::min(all.size(), first + kScanned);
            walk_.fetch(all.data() + ahead, std::min(kScanned, all.size() - ahead));
            walk_.score(all.data() + first, ahead - first);
        }
    }

    // One turn; false when the answer is written.
    bool turn() {
        if (!walking_) answer();
        if (!walking_) return false;
        if (!walk_.turn()) ask_for_rows();
        return true;
    }

private:
    static constexpr std::size_t kScanned = 64;

    void ask_for_rows() {
        candidates_.resize(std::min(walk_.found().size(), search_.queries.rerank));
        for (std::size_t i = 0; i < candidates_.size(); ++i) {
            candidates_[i] = Beam::vertex(walk_.found()[i]);
            search_.graph.rows().prefetch(candidates_[i]);
        }
        walking_ = false;
    }

    void answer() {
        const std::size_t count = candidates_.size(), k = search_.queries.k, found = std::min(k, count);
        distances_.resize(count);
        order_.resize(count);
        search_.graph.rows().to_query(codes_.exact(query_), candidates_.data(), count, distances_.data());
        std::iota(order_.begin(), order_.end(), 0U);
        const auto nearer = [this](std::uint32_t a, std::uint32_t b) {
            if (distances_[a] != distances_[b]) return distances_[a] < distances_[b];
            return candidates_[a] < candidates_[b];
        };
        std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(found), order_.end(), nearer);
        const GraphAnswers& to = search_.answers;
        for (std::size_t i = 0; i < k; ++i) {
            to.slots[query_ * k + i] = 
                i < found ? std::int64_t{search_.graph.slot_of(candidates_[order_[i]])} : -1;
            to.distances[query_ * k + i] = i < found ? distances_[order_[i]] : std::numeric_limits<float>::infinity();
        }
        to.hops[query_] = walk_.hops();
        to.scored[query_] = walk_.scored();
    }

    const Search& search_;
    Codes& codes_;
    GraphWalk walk_;
    std::vector<std::uint32_t> candidates_, order_;
    std::vector<float> distances_;
    std::size_t query_ = 0;
    bool walking_ = false;
};

void answer_chunk(const Search& search, std::size_t chunk, const KernelTable& kernels) {
    std::size_t next = chunk * kChunk;
    const std::size_t end = std::min(search.queries.count, next + kChunk);
    Codes codes(search, next, end - next);
    std::vector<std::unique_ptr<Passage>> open;
    while (open.size() < search.queries.in_flight && next < end) {
        open.push_back(std::make_unique<Passage>(search, codes));
        open.back()->start(next++, kernels);
    }
    while (!open.empty()) {
        for (std::size_t i = 0; i < open.size();) {
            if (open[i]->turn()) {
                ++i;
            } else if (next < end) {
                open[i++]->start(next++, kernels);
            } else {
                std::swap(open[i], open.back());
                open.pop_back();
            }
        }
    }
}

}  // namespace

void Graph::search(const GraphQueries& queries, const GraphAnswers& answers) const {
    Search search{*this, queries, answers, {queries.allowed, queries.allowed_bytes, false}, {}};
    const KernelTable& kernels = kernels_in_use();
    const std::size_t chunks = (queries.count + kChunk - 1) / kChunk;
    if (!queries.scan) {
        // Of many queries each chunk sees the graph of its own moment, so that changes need not wait for all.
        for_chunks(queries.threads, chunks, [&](std::size_t, std::size_t chunk) {
            const auto lock = changing_.shared();
            Search part = search;
            part.filter.everything = queries.allowed == nullptr && removed() == 0;
            answer_chunk(part, chunk, kernels);
        });
        return;
    }
    const auto lock = changing_.shared();
    for (std::uint32_t slot = 0; slot < vertex_of_.size(); ++slot) {
        if (queries.allowed != nullptr && slot / 8 < queries.allowed_bytes && queries.allowed[slot / 8] == 0) {
            slot |= 7;  // none of eight
        } else if (vertex_of_[slot] != kNone && search.filter.passes(slot)) {
            search.scanned.push_back(vertex_of_[slot]);
        }
    }
    for_chunks(queries.threads, chunks,
               [&](std::size_t, std::size_t chunk) { answer_chunk(search, chunk, kernels); });
}

}  // namespace fairlead::vectors
