#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace fairlead::vectors {

// Calls f(worker, chunk) for each chunk, on as many threads as asked, the caller among them. What a chunk throws is
// thrown again when all threads have ended.
template <class F>
void for_chunks(std::size_t threads, std::size_t chunks, const F& f) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto work = [&](std::size_t worker) {
        try {
            for (std::size_t chunk = next++; chunk < chunks; chunk = next++) f(worker, chunk);
        } catch (...) {
            const std::lock_guard lock(failing);
            failure = std::current_exception();
            next = chunks;
        }
    };
    std::vector<std::jthread> helpers;
    for (std::size_t t = 1; t < std::min(threads, chunks); ++t) helpers.emplace_back(work, t);
    work(0);
    helpers.clear();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace fairlead::vectors
