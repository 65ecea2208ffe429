#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace fairlead {

// Devices and file systems that take O_DIRECT want offsets, lengths and addresses that are multiples of this.
inline constexpr std::size_t kBlock = 4096;

// A read that failed: which file, where, and errno (0 where the file is shorter than it should be).
class ReadError : public std::runtime_error {
public:
    ReadError(std::string path, std::uint64_t offset, std::size_t bytes, int code);
    const std::string& path() const { return path_; }
    std::uint64_t offset() const { return offset_; }
    int code() const { return code_; }

private:
    std::string path_;
    std::uint64_t offset_;
    int code_;
};

// One read of whole blocks into aligned memory; `tag` comes back with its completion.
struct BlockRead {
    std::uint64_t offset = 0;
    std::uint32_t bytes = 0;
    std::uint32_t tag = 0;
    std::uint8_t* target = nullptr;
};

// A completion: bytes that were read, or -errno.
struct ReadDone {
    std::uint32_t tag = 0;
    std::int32_t result = 0;
};

// A read that came to nothing, and errno (0 where the file is shorter than it should be).
struct ReadFailed {
    std::uint32_t tag = 0;
    int code = 0;
};

// Bytes [begin, end) of a file.
struct FileRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

// How reads are carried out: io_uring, or threads that call pread.
class ReadEngine {
public:
    virtual ~ReadEngine() = default;
    virtual const char* name() const = 0;
    // Hands over reads; at most the engine's depth are in flight.
    virtual void submit(int file, const BlockRead* reads, std::size_t count) = 0;
    // Memory that most reads go to: what can be prepared for it once is.
    virtual void prepare(std::uint8_t*, std::size_t) {}
    // Appends completions; waits until there are at least `least`.
    virtual void collect(std::size_t least, std::vector<ReadDone>& done) = 0;
    // Waits for a completion, at most this long.
    virtual void await(double seconds) = 0;
};

// Null where the build or the kernel has no io_uring.
std::unique_ptr<ReadEngine> make_uring_engine(std::size_t depth);
std::unique_ptr<ReadEngine> make_thread_engine(std::size_t threads);
// Reads with another engine, and answers as a medium with bad blocks does (EIO) what touches the ranges.
std::unique_ptr<ReadEngine> make_broken_engine(std::unique_ptr<ReadEngine> inner, std::vector<FileRange> broken);

struct ReaderOptions {
    std::size_t depth = 64;   // reads in flight
    std::size_t threads = 4;  // of the pread engine
    bool direct = true;       // past the page cache, where the file system takes O_DIRECT
    bool uring = true;        // io_uring where it can be had
    std::vector<FileRange> broken;  // fail, to test what faults of a medium do
};

// Reads blocks of one file, many at a time. Used by one thread at a time. After a failed read the file is opened
// anew for the next one, so a medium that comes back is used again, and a file that was replaced is refused (ESTALE).
class ClusterReader {
public:
    // Throws ReadError where the file cannot be opened.
    ClusterReader(std::string path, ReaderOptions options);
    ~ClusterReader();
    ClusterReader(const ClusterReader&) = delete;
    ClusterReader& operator=(const ClusterReader&) = delete;

    const std::string& path() const { return path_; }
    const char* engine() const { return engine_->name(); }
    bool direct() const { return direct_; }
    std::uint64_t size() const { return size_; }
    std::size_t depth() const { return options_.depth; }
    std::size_t in_flight() const { return pending_; }
    std::uint64_t bytes_read() const { return bytes_read_; }
    // Seconds during which at least one read was in flight, and seconds spent in wait().
    double busy_seconds() const;
    double waited_seconds() const { return waited_; }

    // Memory that most reads go to, there while any is in flight.
    void prepare(std::uint8_t* memory, std::size_t bytes) { engine_->prepare(memory, bytes); }
    // Starts reads; in_flight() + count must not exceed depth(). Tags below depth(), each in use once.
    void submit(const BlockRead* reads, std::size_t count);
    // Appends the tags of finished reads; with wait, waits for at least one if any is in flight. Throws ReadError for
    // a read that failed: then drain() and give up what was not finished.
    void wait(std::vector<std::uint32_t>& finished, bool wait);
    // The same, but reads that failed are appended to a list; their tags are free again.
    void wait(std::vector<std::uint32_t>& finished, std::vector<ReadFailed>& failed, bool wait);
    // What is wrong with a read that failed, before its tag is used again.
    ReadError error_of(const ReadFailed& failed) const;
    // Waits for everything in flight and drops it, errors too.
    void drain() noexcept;
    int descriptor() const { return file_; }

private:
    void open();
    void reopen();
    void close();
    bool complete(const ReadDone& done, std::vector<std::uint32_t>& finished);
    void account(const BlockRead& read);
    void settled(std::size_t count);

    std::string path_;
    ReaderOptions options_;
    int file_ = -1;
    bool direct_ = false;
    bool stale_ = false;
    std::uint64_t size_ = 0;
    std::int64_t written_ns_ = 0;  // when the file last changed
    std::unique_ptr<ReadEngine> engine_;
    std::vector<std::uint8_t> asked_direct_;  // by tag: was submitted past the page cache
    std::vector<BlockRead> reads_;  // by tag
    std::vector<ReadDone> done_;
    std::size_t pending_ = 0;
    std::uint64_t bytes_read_ = 0;
    double waited_ = 0.0;
    double busy_ = 0.0;
    double busy_since_ = 0.0;
};

}  // namespace fairlead
