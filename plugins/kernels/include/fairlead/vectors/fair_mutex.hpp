#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace fairlead::vectors {

// Readers share, a writer excludes. Readers that come while a writer waits go after it: std::shared_mutex alone may let
// readers that overlap pass for ever.
class FairMutex {
public:
    std::shared_lock<std::shared_mutex> shared() {
        const std::lock_guard turn(turn_);
        return std::shared_lock(mutex_);
    }
    std::unique_lock<std::shared_mutex> exclusive() {
        ++waiting_;
        const std::lock_guard turn(turn_);
        std::unique_lock lock(mutex_);
        --waiting_;
        return lock;
    }
    // Whether a writer waits for readers.
    bool writer_waits() const { return waiting_.load(std::memory_order_relaxed) > 0; }

private:
    std::atomic<int> waiting_{0};
    std::mutex turn_;
    std::shared_mutex mutex_;
};

}  // namespace fairlead::vectors
