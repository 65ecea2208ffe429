#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace fairlead::vectors {

// Queries of any number of callers, answered by a few threads that never wait for a batch to be whole: a query joins
// those under way as soon as a thread would begin another. Until then it stays with its caller: what has come meanwhile
// is admitted together, which costs less than one by one, so that a thread gains speed as it falls behind. Callers that
// bring few queries go first, in the order in which they came, one query of each in turn; those that bring many get what
// is left and a part of the turns at any rate.
//
// `Searcher` is one thread's machine (ListSearcher, GraphSearcher): Ask, room(), admit(), scanning(), idle(), step(),
// abandon(). A failure ends the stream: all who wait, and all who come later, get it.
template <class Searcher>
class Stream {
public:
    using Ask = typename Searcher::Ask;
    using Clock = std::chrono::steady_clock;
    // Queries of one caller that still count as few.
    static constexpr std::size_t kFew = 8;

    // One thread for each searcher.
    explicit Stream(std::vector<std::unique_ptr<Searcher>> searchers) : searchers_(std::move(searchers)) {
        for (auto& searcher : searchers_) threads_.emplace_back([this, &searcher] { work(*searcher); });
    }
    ~Stream() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        come_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // Answers queries [count], `stride` bytes each; any number of threads may ask.
    template <class Options, class Found>
    void search(const std::byte* queries, std::size_t stride, std::size_t count, const Options& options,
                const Found& found) {
        Caller caller;
        caller.ask_of = [=, &options, &found](std::size_t i) {
            return Ask{queries + i * stride, &options, &found, i, count > kFew, nullptr};
        };
        caller.count = count;
        caller.many = count > kFew;
        wait_for(caller);
    }

    // Answers queries that come at given seconds (ascending, from now), each by itself, and writes how long after that
    // it was answered: an open loop without a thread that would have to offer the load. Of fewer queries than there
    // are times the first follow the last.
    template <class Options, class Found>
    void replay(const std::byte* queries, std::size_t stride, std::size_t rows, std::span<const double> due,
                double* waited, const Options& options, const Found& found) {
        Caller caller;
        caller.ask_of = [=, &options, &found](std::size_t i) {
            return Ask{queries + i % rows * stride, &options, &found, i, false, nullptr};
        };
        caller.count = due.size();
        caller.due = due;
        caller.waited = waited;
        caller.began = Clock::now();
        wait_for(caller);
    }

    std::size_t threads() const { return searchers_.size(); }

private:
    static constexpr std::size_t kAtOnce = 32;
    // Looks for arrivals before a thread sleeps, or waits for the tier.
    static constexpr int kLooks = 2000;

    struct Caller {
        std::function<Ask(std::size_t)> ask_of;
        std::size_t count = 0, next = 0, finished = 0;
        bool many = false, failed = false;
        std::span<const double> due;
        double* waited = nullptr;
        Clock::time_point began;
        std::condition_variable done;

        double seconds() const { return std::chrono::duration<double>(Clock::now() - began).count(); }
        double now() const { return due.empty() ? 0.0 : seconds(); }
        bool has_come(double now) const { return next < count && (due.empty() || due[next] <= now); }
        // Queries that have come and no thread has taken.
        std::size_t come() const {
            if (due.empty()) return count - next;
            return static_cast<std::size_t>(std::upper_bound(due.begin() + static_cast<std::ptrdiff_t>(next), due.end(), now()) -
                                            due.begin()) - next;
        }
    };

    void wait_for(Caller& caller) {
        if (caller.count == 0) return;
        std::unique_lock lock(mutex_);
        if (!failure_) {
            open_.push_back(&caller);
            callers_[caller.many ? 1 : 0].push_back(&caller);
            ++waiting_;
            come_.notify_one();
            caller.done.wait(lock, [&] { return caller.finished == caller.count || caller.failed; });
            std::erase(open_, &caller);
            if (!caller.failed) return;
        }
        std::rethrow_exception(failure_);
    }

    void work(Searcher& searcher) {
        std::vector<Ask> asks, finished;
        try {
            int looks = 0;
            while (take(searcher, asks, looks >= kLooks)) {
                searcher.admit(asks);
                looks = asks.empty() ? looks + 1 : 0;
                if (!searcher.idle() && searcher.step(looks >= kLooks, finished)) looks = 0;
                for (const Ask& ask : finished) finish(ask);
                finished.clear();
                if (looks > 0) pause();
            }
        } catch (...) {
            fail(std::current_exception());
        }
        searcher.abandon();
        // What callers gave may be used until no thread does.
        const std::lock_guard lock(mutex_);
        if (++ended_ < searchers_.size()) return;
        for (Caller* caller : open_) {
            caller->failed = true;
            caller->done.notify_one();
        }
    }

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }

    // Takes queries that have come; false: the stream ends. `sleep`: until some come, where nothing is under way.
    bool take(Searcher& searcher, std::vector<Ask>& asks, bool sleep) {
        asks.clear();
        const bool sleeps = sleep && searcher.idle();
        const std::size_t room = searcher.room(false), later = searcher.room(true);
        if (!sleeps && (room + later == 0 || waiting_.load(std::memory_order_acquire) == 0)) return true;
        std::unique_lock lock(mutex_);
        if (sleeps) come_.wait(lock, [this] { return stopping_ || failure_ || waiting_ > 0; });
        if (failure_ || (stopping_ && searcher.idle())) return false;
        if (room > 0) take_from(callers_[0], std::min(share(), room), asks);
        take_from(callers_[1], std::min(kAtOnce - std::min(kAtOnce, asks.size()), later), asks);
        return true;
    }

    // Of those that bring few a thread takes its part, so that none is idle while another has some to spare.
    std::size_t share() const {
        const std::size_t threads = searchers_.size();
        if (threads == 1) return kAtOnce;
        std::size_t come = 0;
        for (const Caller* caller : callers_[0]) come += caller->come();
        return std::clamp<std::size_t>((come + threads - 1) / threads, 1, kAtOnce);
    }

    // One query of each caller in turn.
    void take_from(std::deque<Caller*>& callers, std::size_t most, std::vector<Ask>& asks) {
        for (std::size_t passed = 0; most > 0 && passed < callers.size();) {
            Caller* caller = callers.front();
            callers.pop_front();
            if (caller->has_come(caller->now())) {
                asks.push_back(caller->ask_of(caller->next++));
                asks.back().owner = caller;
                --most;
                passed = 0;
            } else {
                ++passed;
            }
            if (caller->next < caller->count) callers.push_back(caller);
            else --waiting_;
        }
    }

    void finish(const Ask& ask) {
        auto* caller = static_cast<Caller*>(ask.owner);
        if (caller->waited != nullptr) caller->waited[ask.at] = caller->seconds() - caller->due[ask.at];
        const std::lock_guard lock(mutex_);
        if (++caller->finished == caller->count && !caller->failed) caller->done.notify_one();
    }

    void fail(std::exception_ptr failure) {
        {
            const std::lock_guard lock(mutex_);
            if (!failure_) failure_ = std::move(failure);
        }
        come_.notify_all();
    }

    std::vector<std::unique_ptr<Searcher>> searchers_;
    std::mutex mutex_;
    std::condition_variable come_;
    std::deque<Caller*> callers_[2];  // with queries that no thread has taken: few, many
    std::atomic<std::size_t> waiting_{0};  // such callers
    std::vector<Caller*> open_;            // that are not answered whole
    bool stopping_ = false;
    std::exception_ptr failure_;
    std::size_t ended_ = 0;
    std::vector<std::thread> threads_;
};

}  // namespace fairlead::vectors
