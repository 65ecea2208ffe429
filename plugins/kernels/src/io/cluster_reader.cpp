#include "fairlead/cluster_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace fairlead {
namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string what_failed(const std::string& path, std::uint64_t offset, std::size_t bytes, int code) {
    const std::string why = code == 0 ? "the file ends before them: truncated?" : std::strerror(code);
    return path + ": " + std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
           " cannot be read: " + why;
}

std::unique_ptr<ReadEngine> make_engine(const ReaderOptions& options) {
    std::unique_ptr<ReadEngine> engine = options.uring ? make_uring_engine(options.depth) : nullptr;
    if (!engine) engine = make_thread_engine(options.threads);
    return options.broken.empty() ? std::move(engine) : make_broken_engine(std::move(engine), options.broken);
}

int open_file(const char* path, int flags) {
    int file = -1;
    do {
        file = ::open(path, O_RDONLY | O_CLOEXEC | flags);
    } while (file < 0 && errno == EINTR);
    return file;
}

}  // namespace

ReadError::ReadError(std::string path, std::uint64_t offset, std::size_t bytes, int code)
    : std::runtime_error(what_failed(path, offset, bytes, code)), path_(std::move(path)), offset_(offset), code_(code) {}

ClusterReader::ClusterReader(std::string path, ReaderOptions options) : path_(std::move(path)), options_(std::move(options)) {
    if (options_.depth == 0 || options_.depth > 4096 || options_.threads == 0 || options_.threads > 256) {
        throw std::invalid_argument("reader: depth must be 1 to 4096, threads 1 to 256");
    }
    open();
    engine_ = make_engine(options_);
    reads_.resize(options_.depth);
    asked_direct_.resize(options_.depth);
}

ClusterReader::~ClusterReader() {
    drain();
    engine_.reset();
    close();
}

void ClusterReader::open() {
    file_ = options_.direct ? open_file(path_.c_str(), O_DIRECT) : -1;
    direct_ = file_ >= 0;
    if (!direct_) file_ = open_file(path_.c_str(), 0);
    struct stat status {};
    if (file_ < 0 || fstat(file_, &status) != 0) throw ReadError(path_, 0, 0, errno);
    if (S_ISDIR(status.st_mode)) {
        close();
        throw ReadError(path_, 0, 0, EISDIR);
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
    written_ns_ = status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
    stale_ = false;
    if (!direct_) posix_fadvise(file_, 0, 0, POSIX_FADV_RANDOM);
}

void ClusterReader::reopen() {
    const std::uint64_t size = size_;
    const std::int64_t written_ns = written_ns_;
    close();
    open();
    if (size == size_ && written_ns == written_ns_) return;
    stale_ = true;
    size_ = size;
    written_ns_ = written_ns;
    throw ReadError(path_, 0, 0, ESTALE);
}

void ClusterReader::close() {
    if (file_ >= 0) ::close(file_);
    file_ = -1;
}

double ClusterReader::busy_seconds() const { return pending_ > 0 ? busy_ + now() - busy_since_ : busy_; }

void ClusterReader::submit(const BlockRead* reads, std::size_t count) {
    if (count == 0) return;
    if (stale_ && pending_ == 0) reopen();
    if (pending_ == 0) busy_since_ = now();
    for (std::size_t i = 0; i < count; ++i) {
        reads_[reads[i].tag] = reads[i];
        asked_direct_[reads[i].tag] = direct_ ? 1 : 0;
    }
    pending_ += count;
    engine_->submit(file_, reads, count);
}

// Whether a read is over; one that was cut short or interrupted goes on. Throws ReadError.
bool ClusterReader::complete(const ReadDone& done, std::vector<std::uint32_t>& finished) {
    BlockRead& read = reads_[done.tag];
    if (done.result == static_cast<std::int32_t>(read.bytes)) {
        finished.push_back(done.tag);
        return true;
    }
    if (done.result == -EINVAL && asked_direct_[done.tag] != 0) {  // it opens with O_DIRECT, but does not read
        if (direct_) fcntl(file_, F_SETFL, fcntl(file_, F_GETFL) & ~O_DIRECT);
        direct_ = options_.direct = false;  // not again when the file is opened anew
        asked_direct_[done.tag] = 0;
    } else if (done.result > 0) {
        const auto got = static_cast<std::uint32_t>(done.result);
        read = {read.offset + got, read.bytes - got, read.tag, read.target + got};
    } else if (done.result != -EINTR && done.result != -EAGAIN && done.result != -ECANCELED) {
        return false;
    }
    engine_->submit(file_, &read, 1);
    return true;
}

void ClusterReader::settled(std::size_t count) {
    pending_ -= count;
    if (pending_ == 0 && count > 0) busy_ += now() - busy_since_;
}

void ClusterReader::wait(std::vector<std::uint32_t>& finished, std::vector<ReadFailed>& failed, bool wait) {
    const std::size_t before = finished.size();
    const std::size_t failed_before = failed.size();
    const double started = wait ? now() : 0.0;
    while (pending_ > 0) {
        done_.clear();
        engine_->collect(wait ? 1 : 0, done_);
        const std::size_t ended = finished.size() + failed.size();
        for (const ReadDone& done : done_) {
            if (!complete(done, finished)) failed.push_back({done.tag, -done.result});
        }
        settled(finished.size() + failed.size() - ended);
        if (!wait || finished.size() > before || failed.size() > failed_before) break;
    }
    if (wait) waited_ += now() - started;
    for (std::size_t i = before; i < finished.size(); ++i) account(reads_[finished[i]]);
    stale_ = stale_ || failed.size() > failed_before;
}

void ClusterReader::wait(std::vector<std::uint32_t>& finished, bool wait) {
    std::vector<ReadFailed> failed;
    this->wait(finished, failed, wait);
    if (!failed.empty()) throw error_of(failed.front());
}

ReadError ClusterReader::error_of(const ReadFailed& failed) const {
    const BlockRead& read = reads_[failed.tag];
    return {path_, read.offset, read.bytes, failed.code};
}

void ClusterReader::account(const BlockRead& read) {
    bytes_read_ += read.bytes;
    // Without O_DIRECT the page cache would fill up with what the neuron cache holds already.
    if (!direct_) posix_fadvise(file_, static_cast<off_t>(read.offset), read.bytes, POSIX_FADV_DONTNEED);
}

void ClusterReader::drain() noexcept {
    std::vector<std::uint32_t> dropped;
    while (pending_ > 0) {
        try {
            wait(dropped, true);
        } catch (const ReadError&) {
            continue;  // whoever drains has given these reads up
        }
    }
}

}  // namespace fairlead
