#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "fairlead/patience.hpp"

namespace fairlead {

// Parked threads that help the caller with numbered chunks of work. Chunks are claimed one at a time, so a
// helper that the operating system has put aside delays nobody before its first claim. Waiting is a spin whose
// length follows how busy the machine is (Patience), then a futex.
class ThreadPool {
public:
    using Body = void (*)(void* context, std::size_t chunk);

    static ThreadPool& instance();

    // Threads that compute, the caller included.
    std::size_t threads() const { return threads_.load(std::memory_order_relaxed); }
    void resize(std::size_t threads);

    // Calls body(context, c) once for each c below chunks and returns when all are done. A second caller at
    // the same time works alone. The body must not throw.
    void run(std::size_t chunks, Body body, void* context);

private:
    bool claim_and_work();
    void serve();
    void publish(std::uint32_t chunks, Body body, void* context);
    void signal_helpers(std::uint32_t wanted);
    void await_helpers();
    void stop_helpers();

    std::mutex busy_;
    std::vector<std::thread> helpers_;
    std::atomic<std::size_t> threads_{1};
    std::atomic<bool> stopping_{false};
    std::uint64_t job_ = 0;
    // The job's number in the upper 32 bits, the next chunk in the lower: a claim of a finished job fails.
    alignas(64) std::atomic<std::uint64_t> ticket_{0xFFFFFFFFU};
    std::atomic<std::uint32_t> chunks_{0};
    std::atomic<Body> body_{nullptr};
    std::atomic<void*> context_{nullptr};
    alignas(64) std::atomic<std::uint32_t> unfinished_{0};
    // Grows with every job; helpers sleep on it.
    alignas(64) std::atomic<std::uint32_t> signal_{0};
    std::atomic<std::uint32_t> sleeping_{0};
    std::atomic<bool> caller_sleeps_{false};
    Patience patience_;
};

// Calls f(begin, end) over [0, count) in chunks of at least `grain` items, each a multiple of `align`.
template <class F>
void parallel_for(std::size_t count, std::size_t grain, std::size_t align, const F& f) {
    ThreadPool& pool = ThreadPool::instance();
    const std::size_t most = pool.threads() * 4;
    std::size_t size = (count + most - 1) / most;
    size = size < grain ? grain : size;
    size = (size + align - 1) / align * align;
    const std::size_t chunks = size == 0 ? 0 : (count + size - 1) / size;
    if (chunks <= 1 || pool.threads() == 1) {
        if (count > 0) f(std::size_t{0}, count);
        return;
    }
    struct Job {
        const F& f;
        std::size_t count;
        std::size_t size;
    } job{f, count, size};
    pool.run(
        chunks,
        [](void* context, std::size_t chunk) {
            const Job& j = *static_cast<Job*>(context);
            const std::size_t begin = chunk * j.size;
            j.f(begin, begin + j.size < j.count ? begin + j.size : j.count);
        },
        &job);
}

}  // namespace fairlead
