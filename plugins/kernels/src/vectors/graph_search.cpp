#include <algorithm>
#include <memory>
#include <vector>

#include "fairlead/dispatch.hpp"
#include "fairlead/vectors/graph.hpp"
#include "vectors/graph_passage.hpp"
#include "vectors/workers.hpp"

namespace fairlead::vectors {
namespace {

constexpr std::size_t kChunk = 64;

void answer_chunk(const Graph& graph, const GraphQueries& queries, const GraphAnswers& answers, std::size_t chunk,
                  const GraphFilter& filter, const std::vector<std::uint32_t>* scanned, const KernelTable& kernels) {
    const std::size_t first = chunk * kChunk, end = std::min(queries.count, first + kChunk);
    const std::size_t bytes = graph.encoder().space.bytes();
    std::size_t next = first;
    const QueryCodes codes(graph, queries.vectors + first * bytes, end - first);
    std::vector<std::unique_ptr<GraphPassage>> open;
    const auto start = [&](GraphPassage& passage) {
        const GraphAsk ask{queries.vectors + next * bytes, &queries, &answers, next, false, nullptr};
        passage.start(ask, codes.walked(next - first), codes.exact(next - first), filter, scanned, kernels);
        ++next;
    };
    while (open.size() < queries.in_flight && next < end) {
        open.push_back(std::make_unique<GraphPassage>(graph));
        start(*open.back());
    }
    while (!open.empty()) {
        for (std::size_t i = 0; i < open.size();) {
            if (open[i]->turn()) {
                ++i;
            } else if (next < end) {
                start(*open[i++]);
            } else {
                std::swap(open[i], open.back());
                open.pop_back();
            }
        }
    }
}

// Vertices of the slots that are allowed, read 64 bits at a time.
std::vector<std::uint32_t> passing(const std::vector<std::uint32_t>& vertex_of, const GraphQueries& queries) {
    std::vector<std::uint32_t> vertices;
    const std::size_t count = vertex_of.size();
    const std::size_t bytes = queries.allowed == nullptr ? (count + 7) / 8 : std::min((count + 7) / 8, queries.allowed_bytes);
    for (std::size_t first = 0; first < bytes; first += 8) {
        std::uint64_t bits = ~std::uint64_t{0};
        if (queries.allowed != nullptr) {
            bits = 0;
            for (std::size_t b = 0; b < std::min<std::size_t>(8, bytes - first); ++b) {
                bits |= std::uint64_t{queries.allowed[first + b]} << (8 * b);
            }
        }
        for (; bits != 0; bits &= bits - 1) {
            const std::size_t slot = 8 * first + static_cast<std::size_t>(__builtin_ctzll(bits));
            if (slot >= count) break;
            if (vertex_of[slot] != Graph::kNone) vertices.push_back(vertex_of[slot]);
        }
    }
    return vertices;
}

}  // namespace

void Graph::search(const GraphQueries& queries, const GraphAnswers& answers) const {
    const KernelTable& kernels = kernels_in_use();
    const std::size_t chunks = (queries.count + kChunk - 1) / kChunk;
    if (!queries.scan) {
        // Of many queries each chunk sees the graph of its own moment, so that changes need not wait for all.
        for_chunks(queries.threads, chunks, [&](std::size_t, std::size_t chunk) {
            const auto lock = changing_.shared();
            answer_chunk(*this, queries, answers, chunk, filter_of(queries), nullptr, kernels);
        });
        return;
    }
    const auto lock = changing_.shared();
    const std::vector<std::uint32_t> scanned = passing(vertex_of_, queries);
    const GraphFilter filter{queries.allowed, queries.allowed_bytes, false};
    for_chunks(queries.threads, chunks, [&](std::size_t, std::size_t chunk) {
        answer_chunk(*this, queries, answers, chunk, filter, &scanned, kernels);
    });
}

GraphFilter Graph::filter_of(const GraphQueries& queries) const {
    return {queries.allowed, queries.allowed_bytes, queries.allowed == nullptr && removed() == 0};
}

}  // namespace fairlead::vectors
