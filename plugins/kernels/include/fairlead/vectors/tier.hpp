#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fairlead/cluster_reader.hpp"
#include "fairlead/vectors/tier_memory.hpp"

namespace fairlead {

namespace vectors {
class SpilledRows;
}

// A region's memory cannot be had: what happened, with the region's URL.
class TierError : public std::runtime_error {
public:
    TierError(std::string url, const std::string& what) : std::runtime_error(url + ": " + what), url_(std::move(url)) {}
    const std::string& url() const { return url_; }

private:
    std::string url_;
};

// What holds the region is gone, broke a promise, or failed to read it.
class TierLost : public TierError {
    using TierError::TierError;
};

// What holds the region did not answer in time.
class TierTimeout : public TierError {
    using TierError::TierError;
};

// One read of a region: [offset, offset + length) to memory that stays there until the ticket is done.
struct TierRead {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::byte* into = nullptr;
};

// What a tier was asked for since it was made.
struct TierCounters {
    std::uint64_t batches = 0;
    std::uint64_t reads = 0;
    std::uint64_t bytes = 0;
};

// A region of memory in some tier, as one searching thread sees it (one object a thread). Reads of one submit are
// independent and overlap. done() and wait() raise TierLost and TierTimeout; neither takes longer than the timeout.
// After either no read of this object writes to memory of its caller any more.
class Tier {
public:
    Tier(std::string url, std::uint64_t size, double timeout);
    virtual ~Tier() = default;
    Tier(const Tier&) = delete;
    Tier& operator=(const Tier&) = delete;

    const std::string& url() const { return url_; }
    virtual const char* kind() const = 0;
    virtual std::uint64_t size() const { return size_; }
    double timeout() const { return timeout_; }
    const TierCounters& counters() const { return counters_; }

    // Starts reads and returns their ticket; never blocks for latency. Throws std::out_of_range for reads that leave the
    // region.
    virtual std::uint64_t submit(std::span<const TierRead> reads) = 0;
    // Whether all reads of a ticket have arrived.
    virtual bool done(std::uint64_t ticket) = 0;
    virtual void wait(std::uint64_t ticket) = 0;
    // Where the bytes lie, for tiers that the processor loads from as from DRAM; else nullptr.
    virtual const std::byte* direct(std::uint64_t) const { return nullptr; }
    // Writes, and returns when every later read sees it.
    virtual void write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
    // This object's one zone to which reads go without another copy (other memory is as correct). A later call for more
    // than it has replaces it.
    virtual std::span<std::byte> landing(std::size_t bytes);
    // The largest such zone.
    virtual std::size_t most_landing() const { return SIZE_MAX; }

protected:
    void check_range(std::uint64_t offset, std::uint64_t length) const;
    void count(std::span<const TierRead> reads);
    [[noreturn]] void lost(const std::string& what) const { throw TierLost(url_, what); }
    [[noreturn]] void late() const;

private:
    std::string url_;
    std::uint64_t size_;
    double timeout_;
    TierCounters counters_;
    std::shared_ptr<TierMemory> landing_;
};

// Seconds on a clock that only goes forward.
double monotonic_seconds();

inline constexpr double kTierTimeout = 2.0;  // seconds for a batch

// Memory of this process (or mapped into it): loads, prefetched a few KiB ahead.
std::unique_ptr<Tier> make_memory_tier(std::string url, std::shared_ptr<TierMemory> memory, const char* kind = "dram");

// Copies of one region: reads go to the first that answers; one that is lost or late is left out from then on. Writes go
// to all.
std::unique_ptr<Tier> make_replicated_tier(std::string url, std::vector<std::shared_ptr<Tier>> replicas);

// Rows of `dim` float32 that lie packed in `inner` (fairlead/vectors/packed_floats.hpp): the region's bytes are those of
// the plain rows. They are read and written whole; bytes count as they are read from `inner`. Throws
// std::invalid_argument where rows take no less packed.
std::unique_ptr<Tier> make_packed_tier(std::shared_ptr<Tier> inner, std::size_t dim,
                                       std::shared_ptr<vectors::SpilledRows> spilled);

struct FileTierOptions {
    std::size_t depth = 128;  // reads in flight
    std::size_t threads = 8;  // of the pread engine
    bool direct = false;      // O_DIRECT: past the page cache; refused where the file system does not take it
    bool uring = true;        // io_uring where it can be had
    double timeout = kTierTimeout;
    std::vector<FileRange> broken;  // fail, to test what faults of a medium do
};

// Bytes of a file, read by io_uring (registered buffers, deep queues) or by threads that call pread.
std::unique_ptr<Tier> make_file_tier(std::string url, std::string path, FileTierOptions options);

}  // namespace fairlead
