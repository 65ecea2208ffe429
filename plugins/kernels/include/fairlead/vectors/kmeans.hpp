#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fairlead::vectors {

// Lloyd's k-means on a sample [count, dim], with a price on crowded clusters (frequency-sensitive competitive learning)
// so that their sizes stay near one another. Clusters that nobody is nearest to start again beside a member of the
// largest. Deterministic in the seed; the threads of the pool change nothing. Centroids are finite where the sample is.
std::vector<float> balanced_kmeans(const float* sample, std::size_t count, std::size_t dim, std::size_t clusters,
                                   std::size_t rounds, float balance, std::uint64_t seed);

}  // namespace fairlead::vectors
