#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "fairlead/vectors/tier.hpp"
#include "vectors/pending_tickets.hpp"

namespace fairlead {
namespace {

constexpr std::uint32_t kSlot = 16 * 1024;  // of the landing zone; longer reads are cut
constexpr std::size_t kEager = 8;           // reads that wait for one system call at most

struct Descriptor {
    int number = -1;
    ~Descriptor() {
        if (number >= 0) ::close(number);
    }
};

// A piece of a read: whole blocks into a slot, of which [skip, skip + length) is wanted.
struct Piece {
    std::uint64_t ticket = 0;
    std::uint64_t offset = 0;
    std::uint32_t bytes = 0;
    std::uint32_t skip = 0;
    std::uint32_t length = 0;
    std::uint32_t got = 0;  // of bytes, in whole blocks
    std::byte* into = nullptr;
};

// Reads go to slots of the tier's own, registered with the kernel: alignment is the tier's business, and a read that was
// given up can never write to memory of somebody else.
class FileTier final : public Tier {
public:
    FileTier(std::string url, std::string path, std::uint64_t size, FileTierOptions options)
        : Tier(std::move(url), size, options.timeout), path_(std::move(path)), options_(std::move(options)) {}

    ~FileTier() override {
        drain();
        if (in_flight_ == 0) return;
        // Reads that the system still owes keep what they may write to, for as long as the process lives.
        (void)engine_.release();
        (void)new std::shared_ptr<TierMemory>(slots_);
        file_.number = -1;
    }

    void open() {
        file_.number = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | (options_.direct ? O_DIRECT : 0));
        if (file_.number < 0) refuse("cannot be opened", errno);
        if (options_.direct) align_ = alignment();
        engine_ = options_.uring ? make_uring_engine(options_.depth) : nullptr;
        if (!engine_) engine_ = make_thread_engine(options_.threads);
        if (!options_.broken.empty()) engine_ = make_broken_engine(std::move(engine_), options_.broken);
        slots_ = TierMemory::anonymous(options_.depth * kSlot);
        engine_->prepare(reinterpret_cast<std::uint8_t*>(slots_->data()), slots_->size());
        pieces_.resize(options_.depth);
        for (std::size_t i = options_.depth; i-- > 0;) free_.push_back(static_cast<std::uint32_t>(i));
        if (!options_.direct) posix_fadvise(file_.number, 0, 0, POSIX_FADV_RANDOM);
    }

    const char* kind() const override { return "file"; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        if (given_up_) late();
        count(reads);
        const std::size_t before = queue_.size();
        for (const TierRead& read : reads) cut(read);
        const auto parts = static_cast<std::uint32_t>(queue_.size() - before);
        if (parts == 0) return 0;
        const std::uint64_t ticket = tickets_.open(parts, monotonic_seconds() + timeout());
        for (std::size_t i = before; i < queue_.size(); ++i) queue_[i].ticket = ticket;
        if (parts >= kEager / 2 || in_flight_ == 0 || queue_.size() >= kEager) start();
        return ticket;
    }

    bool done(std::uint64_t ticket) override {
        if (!tickets_.done(ticket)) {
            start();
            collect();
            if (++polls_ % 64 == 0 && !tickets_.done(ticket) && monotonic_seconds() > tickets_.deadline(ticket)) give_up();
        }
        if (!failed_.empty()) raise_failed(ticket);
        return tickets_.done(ticket);
    }

    void wait(std::uint64_t ticket) override {
        start();
        collect();
        while (!tickets_.done(ticket)) {
            const double left = tickets_.deadline(ticket) - monotonic_seconds();
            if (left <= 0.0) give_up();
            engine_->await(left);
            collect();
        }
        if (!failed_.empty()) raise_failed(ticket);
    }

    // Through the page cache, which reads past it are kept coherent with; not by blocks, since two writers may share one.
    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        if (writer_.number < 0) writer_.number = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
        if (writer_.number < 0) refuse("cannot be written", errno);
        std::size_t at = 0;
        while (at < bytes.size()) {
            const ssize_t wrote = pwrite(writer_.number, bytes.data() + at, bytes.size() - at,
                                         static_cast<off_t>(offset + at));
            if (wrote < 0 && errno == EINTR) continue;
            if (wrote <= 0) refuse_write(offset + at, bytes.size() - at, wrote < 0 ? errno : ENOSPC);
            at += static_cast<std::size_t>(wrote);
        }
        if (options_.direct) forget(offset, bytes.size());
    }

private:
    [[noreturn]] void refuse(const std::string& what, int code) const { lost(what + ": " + std::strerror(code)); }

    [[noreturn]] void refuse_write(std::uint64_t offset, std::size_t bytes, int code) const {
        refuse(std::to_string(bytes) + " bytes at offset " + std::to_string(offset) + " cannot be written", code);
    }

    // What the file system asks of offsets and lengths.
    std::uint32_t alignment() const {
#if defined(STATX_DIOALIGN)
        struct statx status {};
        if (statx(file_.number, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && (status.stx_mask & STATX_DIOALIGN) != 0 &&
            status.stx_dio_offset_align > 0) {
            return std::min<std::uint32_t>(std::max<std::uint32_t>(status.stx_dio_offset_align, 512), kBlock);
        }
#endif
        return kBlock;
    }

    void forget(std::uint64_t offset, std::size_t bytes) const {
#if defined(SYNC_FILE_RANGE_WRITE)
        sync_file_range(writer_.number, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
#endif
        posix_fadvise(writer_.number, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
    }

    void cut(const TierRead& read) {
        std::uint64_t at = 0;
        while (at < read.length) {
            const std::uint64_t begin = read.offset + at;
            const std::uint64_t block = begin / align_ * align_;
            const auto skip = static_cast<std::uint32_t>(begin - block);
            const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(read.length - at, kSlot - skip));
            const std::uint32_t bytes = (skip + length + align_ - 1) / align_ * align_;
            queue_.push_back({0, block, bytes, skip, length, 0, read.into + at});
            at += length;
        }
    }

    void start() {
        starting_.clear();
        while (!queue_.empty() && !free_.empty()) {
            const std::uint32_t slot = free_.back();
            free_.pop_back();
            pieces_[slot] = queue_.front();
            queue_.pop_front();
            starting_.push_back(request(slot));
        }
        if (starting_.empty()) return;
        in_flight_ += starting_.size();
        engine_->submit(file_.number, starting_.data(), starting_.size());
    }

    BlockRead request(std::uint32_t slot) const {
        const Piece& piece = pieces_[slot];
        auto* target = reinterpret_cast<std::uint8_t*>(slots_->data()) + std::size_t{slot} * kSlot + piece.got;
        return {piece.offset + piece.got, piece.bytes - piece.got, slot, target};
    }

    void collect() {
        arrived_.clear();
        engine_->collect(0, arrived_);
        for (const ReadDone& done : arrived_) settle(done);
        if (!arrived_.empty()) start();
    }

    void settle(const ReadDone& done) {
        Piece& piece = pieces_[done.tag];
        const bool again = done.result == -EINTR || done.result == -EAGAIN || done.result == -ECANCELED;
        const std::uint32_t total = piece.got + (done.result > 0 ? static_cast<std::uint32_t>(done.result) : 0);
        if (total >= piece.skip + piece.length) {
            if (piece.into != nullptr) std::memcpy(piece.into, slots_->data() + std::size_t{done.tag} * kSlot + piece.skip, piece.length);
        } else if (again || total / align_ * align_ > piece.got) {  // cut short: the rest
            piece.got = total / align_ * align_;
            const BlockRead rest = request(done.tag);
            engine_->submit(file_.number, &rest, 1);
            return;
        } else {
            failed_.emplace(piece.ticket, what_failed(piece, done.result));
        }
        --in_flight_;
        free_.push_back(done.tag);
        tickets_.arrived(piece.ticket);
    }

    static std::string what_failed(const Piece& piece, std::int32_t result) {
        return std::to_string(piece.length) + " bytes at offset " + std::to_string(piece.offset + piece.skip) + " cannot be read: " +
               (result < 0 ? std::strerror(-result) : "the file ends before them: truncated?");
    }

    // Each batch reports its own failure; those of other batches stay whole.
    void raise_failed(std::uint64_t ticket) {
        const auto found = failed_.find(ticket);
        if (found == failed_.end() || !tickets_.done(ticket)) return;
        const std::string what = found->second;
        failed_.erase(found);
        lost(what);
    }

    // What still comes goes nowhere: callers have their memory back.
    [[noreturn]] void give_up() {
        given_up_ = true;
        queue_.clear();
        for (Piece& piece : pieces_) piece.into = nullptr;
        late();
    }

    void drain() noexcept {
        queue_.clear();
        const double deadline = monotonic_seconds() + timeout();
        while (in_flight_ > 0 && monotonic_seconds() < deadline) {
            arrived_.clear();
            engine_->await(0.1);
            engine_->collect(0, arrived_);
            in_flight_ -= arrived_.size();
        }
    }

    std::string path_;
    FileTierOptions options_;
    Descriptor file_;
    Descriptor writer_;
    std::uint32_t align_ = 1;
    std::unique_ptr<ReadEngine> engine_;
    std::shared_ptr<TierMemory> slots_;
    std::vector<Piece> pieces_;  // by slot
    std::vector<std::uint32_t> free_;
    std::deque<Piece> queue_;
    std::size_t in_flight_ = 0;
    std::uint64_t polls_ = 0;
    bool given_up_ = false;
    PendingTickets tickets_;
    std::unordered_map<std::uint64_t, std::string> failed_;
    std::vector<BlockRead> starting_;
    std::vector<ReadDone> arrived_;
};

}  // namespace

std::unique_ptr<Tier> make_file_tier(std::string url, std::string path, FileTierOptions options) {
    if (options.depth == 0 || options.depth > 4096 || options.threads == 0 || options.threads > 256) {
        throw std::invalid_argument(url + ": depth must be 1 to 4096, threads 1 to 256");
    }
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) throw TierLost(url, path + ": " + std::strerror(errno));
    if (!S_ISREG(status.st_mode)) throw TierLost(url, path + ": is no regular file");
    auto tier = std::make_unique<FileTier>(std::move(url), std::move(path), static_cast<std::uint64_t>(status.st_size), std::move(options));
    tier->open();
    return tier;
}

}  // namespace fairlead
