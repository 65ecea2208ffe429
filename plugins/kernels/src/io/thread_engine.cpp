#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "fairlead/cluster_reader.hpp"

namespace fairlead {
namespace {

// Threads that call pread: everywhere, and the only way where io_uring is missing or forbidden (Android, containers).
class ThreadEngine final : public ReadEngine {
public:
    explicit ThreadEngine(std::size_t threads) {
        for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { serve(); });
    }

    ~ThreadEngine() override {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        asked_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    const char* name() const override { return "pread"; }

    void submit(int file, const BlockRead* reads, std::size_t count) override {
        {
            const std::lock_guard lock(mutex_);
            for (std::size_t i = 0; i < count; ++i) waiting_.push_back({file, reads[i]});
        }
        asked_.notify_all();
    }

    void collect(std::size_t least, std::vector<ReadDone>& done) override {
        std::unique_lock lock(mutex_);
        answered_.wait(lock, [&] { return done_.size() >= least; });
        done.insert(done.end(), done_.begin(), done_.end());
        done_.clear();
    }

    void await(double seconds) override {
        std::unique_lock lock(mutex_);
        answered_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !done_.empty(); });
    }

private:
    struct Job {
        int file;
        BlockRead read;
    };

    void serve() {
        std::unique_lock lock(mutex_);
        while (true) {
            asked_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            const Job job = waiting_.front();
            waiting_.pop_front();
            lock.unlock();
            const ReadDone done = carry_out(job);
            lock.lock();
            done_.push_back(done);
            answered_.notify_one();
        }
    }

    static ReadDone carry_out(const Job& job) {
        const ssize_t result = pread(job.file, job.read.target, job.read.bytes, static_cast<off_t>(job.read.offset));
        return {job.read.tag, result < 0 ? -errno : static_cast<std::int32_t>(result)};
    }

    std::mutex mutex_;
    std::condition_variable asked_;
    std::condition_variable answered_;
    std::deque<Job> waiting_;
    std::vector<ReadDone> done_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadEngine> make_thread_engine(std::size_t threads) { return std::make_unique<ThreadEngine>(threads); }

}  // namespace fairlead
