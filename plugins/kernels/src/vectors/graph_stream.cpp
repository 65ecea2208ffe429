#include "fairlead/vectors/graph_stream.hpp"

#include <utility>
#include <vector>

#include "fairlead/vectors/stream.hpp"
#include "vectors/graph_searcher.hpp"

namespace fairlead::vectors {
namespace {

std::vector<std::unique_ptr<GraphSearcher>> searchers(const Graph& graph, std::size_t threads, std::size_t width) {
    std::vector<std::unique_ptr<GraphSearcher>> made;
    for (std::size_t i = 0; i < threads; ++i) made.push_back(std::make_unique<GraphSearcher>(graph, width));
    return made;
}

}  // namespace

struct GraphStream::State {
    std::size_t stride;
    Stream<GraphSearcher> stream;
};

GraphStream::GraphStream(const Graph& graph, std::size_t threads, std::size_t width)
    : state_(new State{graph.encoder().space.bytes(), Stream<GraphSearcher>(searchers(graph, threads, width))}) {}

GraphStream::~GraphStream() = default;

void GraphStream::search(const GraphQueries& queries, const GraphAnswers& answers) {
    state_->stream.search(queries.vectors, state_->stride, queries.count, queries, answers);
}

}  // namespace fairlead::vectors
