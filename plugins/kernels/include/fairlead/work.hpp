#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead {

// What feed-forward calls computed, read and waited for; each call adds to it. Python sees the fields in this order
// as int64 [layers, kWorkFields] (fairlead_kernels.work.FIELDS).
struct Work {
    // Neurons that a predictor chose; all neurons where none decides.
    std::int64_t predicted = 0;
    // Neurons whose gate row was multiplied.
    std::int64_t computed = 0;
    // Neurons whose gate function was not zero.
    std::int64_t active = 0;
    // Neurons whose rows were in the cache: in its fixed, hot and cold region.
    std::int64_t fixed_hits = 0;
    std::int64_t hot_hits = 0;
    std::int64_t cold_hits = 0;
    // Neurons whose rows had to be read.
    std::int64_t misses = 0;
    std::int64_t reads = 0;
    std::int64_t read_bytes = 0;
    // Time with a read in flight, and the part of it in which nothing was left to compute.
    std::int64_t read_ns = 0;
    std::int64_t stalled_ns = 0;
    // Time in the predictor.
    std::int64_t predictor_ns = 0;
    // Experts of a mixture whose weights a call read, each once however many of its tokens chose it.
    std::int64_t experts = 0;
};

inline constexpr std::size_t kWorkFields = 13;
static_assert(sizeof(Work) == kWorkFields * sizeof(std::int64_t));

}  // namespace fairlead
