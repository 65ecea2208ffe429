#pragma once

#include <cstddef>
#include <memory>

#include "fairlead/vectors/graph.hpp"

namespace fairlead::vectors {

// Searches of a graph that join one another (Stream), on threads of their own.
class GraphStream {
public:
    // The graph stays until this is gone. `width`: queries that a thread walks with by turns.
    GraphStream(const Graph& graph, std::size_t threads, std::size_t width);
    ~GraphStream();

    // As Graph::search answers them; `threads`, `in_flight` and `scan` of the queries are passed over.
    void search(const GraphQueries& queries, const GraphAnswers& answers);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace fairlead::vectors
