#include "fairlead/thread_pool.hpp"

#include <pthread.h>

#include <algorithm>

#include "fairlead/patience.hpp"

namespace fairlead {
namespace {

constexpr std::uint64_t kClosed = 0xFFFFFFFFU;

ThreadPool* the_pool = nullptr;

// A forked child has none of its parent's threads: it starts with a new pool and leaves the old one alone.
void renew_after_fork() { the_pool = new ThreadPool; }

}  // namespace

ThreadPool& ThreadPool::instance() {
    // Never destroyed: a parked thread must not outlive the pool while the process ends.
    static const bool created = [] {
        the_pool = new ThreadPool;
        pthread_atfork(nullptr, nullptr, renew_after_fork);
        return true;
    }();
    static_cast<void>(created);
    return *the_pool;
}

void ThreadPool::stop_helpers() {
    stopping_.store(true, std::memory_order_release);
    signal_helpers(static_cast<std::uint32_t>(helpers_.size()));
    for (std::thread& helper : helpers_) helper.join();
    helpers_.clear();
    stopping_.store(false, std::memory_order_release);
}

void ThreadPool::resize(std::size_t threads) {
    const std::lock_guard lock(busy_);
    if (threads == threads_.load()) return;
    stop_helpers();
    threads_.store(1);
    for (std::size_t i = 1; i < threads; ++i) {
        helpers_.emplace_back([this] { serve(); });
        threads_.store(i + 1);
    }
}

bool ThreadPool::claim_and_work() {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    const Body body = body_.load(std::memory_order_acquire);
    void* context = context_.load(std::memory_order_acquire);
    const std::uint32_t chunks = chunks_.load(std::memory_order_acquire);
    const std::uint64_t chunk = ticket & kClosed;
    if (chunk >= chunks) return false;
    // Success proves that the job is still open, so body and context were this job's.
    if (!ticket_.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel)) return true;
    body(context, chunk);
    // Whoever finishes last wakes the caller; both sides write before they read, so one of them sees the other.
    if (unfinished_.fetch_sub(1) == 1 && caller_sleeps_.load()) unpark(unfinished_, 1);
    return true;
}

void ThreadPool::signal_helpers(std::uint32_t wanted) {
    signal_.fetch_add(1);
    if (sleeping_.load() > 0) unpark(signal_, wanted);
}

void ThreadPool::serve() {
    Patience patience;
    while (!stopping_.load(std::memory_order_acquire)) {
        const std::uint32_t seen = signal_.load(std::memory_order_acquire);
        while (claim_and_work()) {
        }
        if (stopping_.load(std::memory_order_acquire) || patience.spin(signal_, seen)) continue;
        sleeping_.fetch_add(1);
        park(signal_, seen);
        sleeping_.fetch_sub(1);
    }
}

void ThreadPool::publish(std::uint32_t chunks, Body body, void* context) {
    ++job_;
    ticket_.store(job_ << 32 | kClosed, std::memory_order_release);
    body_.store(body, std::memory_order_release);
    context_.store(context, std::memory_order_release);
    chunks_.store(chunks, std::memory_order_release);
    unfinished_.store(chunks, std::memory_order_release);
    ticket_.store(job_ << 32, std::memory_order_release);
    signal_helpers(std::min(chunks - 1, static_cast<std::uint32_t>(helpers_.size())));
}

void ThreadPool::await_helpers() {
    std::uint32_t left = unfinished_.load(std::memory_order_acquire);
    while (left != 0) {
        if (!patience_.spin(unfinished_, left)) {
            caller_sleeps_.store(true);
            park(unfinished_, left);
            caller_sleeps_.store(false);
        }
        left = unfinished_.load(std::memory_order_acquire);
    }
}

void ThreadPool::run(std::size_t chunks, Body body, void* context) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    if (!lock.owns_lock() || helpers_.empty() || chunks >= kClosed) {
        for (std::size_t c = 0; c < chunks; ++c) body(context, c);
        return;
    }
    publish(static_cast<std::uint32_t>(chunks), body, context);
    while (claim_and_work()) {
    }
    await_helpers();
}

}  // namespace fairlead
