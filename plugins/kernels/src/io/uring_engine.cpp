#include "fairlead/cluster_reader.hpp"

#if defined(FAIRLEAD_URING)

#include <liburing.h>
#include <sys/uio.h>

#include <cerrno>
#include <system_error>

namespace fairlead {
namespace {

class UringEngine final : public ReadEngine {
public:
    explicit UringEngine(const io_uring& ring) : ring_(ring) {}
    ~UringEngine() override { io_uring_queue_exit(&ring_); }

    const char* name() const override { return "io_uring"; }

    // Registered memory is not looked up and pinned for each read. Where it may not be locked, nothing changes.
    void prepare(std::uint8_t* memory, std::size_t bytes) override {
        if (memory_.iov_base != nullptr) io_uring_unregister_buffers(&ring_);
        memory_ = {memory, bytes};
        if (io_uring_register_buffers(&ring_, &memory_, 1) != 0) memory_ = {};
    }

    void submit(int file, const BlockRead* reads, std::size_t count) override {
        for (std::size_t i = 0; i < count; ++i) {
            io_uring_sqe* entry = io_uring_get_sqe(&ring_);
            if (entry == nullptr) {
                flush();
                entry = io_uring_get_sqe(&ring_);
            }
            if (prepared(reads[i])) {
                io_uring_prep_read_fixed(entry, file, reads[i].target, reads[i].bytes, reads[i].offset, 0);
            } else {
                io_uring_prep_read(entry, file, reads[i].target, reads[i].bytes, reads[i].offset);
            }
            io_uring_sqe_set_data64(entry, reads[i].tag);
        }
        flush();
    }

    void collect(std::size_t least, std::vector<ReadDone>& done) override {
        io_uring_cqe* entry = nullptr;
        while (least > 0 && io_uring_wait_cqe(&ring_, &entry) == -EINTR) {
        }
        // Completions that wait for us to ask are not seen by looking at the ring alone.
        if (io_uring_cq_ready(&ring_) == 0 && (IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0) {
            io_uring_get_events(&ring_);
        }
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_for_each_cqe(&ring_, head, entry) {
            done.push_back({static_cast<std::uint32_t>(io_uring_cqe_get_data64(entry)), entry->res});
            ++seen;
        }
        io_uring_cq_advance(&ring_, seen);
    }

    void await(double seconds) override {
        io_uring_cqe* entry = nullptr;
        const auto whole = static_cast<long long>(seconds);
        __kernel_timespec limit{whole, static_cast<long long>((seconds - static_cast<double>(whole)) * 1e9)};
        io_uring_wait_cqe_timeout(&ring_, &entry, &limit);
    }

private:
    bool prepared(const BlockRead& read) const {
        const auto* begin = static_cast<const std::uint8_t*>(memory_.iov_base);
        return begin != nullptr && read.target >= begin && read.target + read.bytes <= begin + memory_.iov_len;
    }

    void flush() {
        while (io_uring_sq_ready(&ring_) > 0) {
            const int result = io_uring_submit(&ring_);
            if (result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ENOMEM) continue;
            throw std::system_error(-result, std::generic_category(), "io_uring_submit");
        }
    }

    io_uring ring_;
    iovec memory_{};
};

bool start(std::size_t depth, io_uring& ring) {
    // Completions are run when we ask for them rather than by interrupting the computation; before Linux 5.19 not.
    const unsigned entries = static_cast<unsigned>(depth);
    return io_uring_queue_init(entries, &ring, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG) == 0 ||
           io_uring_queue_init(entries, &ring, 0) == 0;
}

// A filter of system calls may allow a ring and refuse its use: that is found out before a read depends on it.
bool answers(io_uring& ring) {
    io_uring_cqe* answer = nullptr;
    io_uring_prep_nop(io_uring_get_sqe(&ring));
    if (io_uring_submit(&ring) != 1 || io_uring_wait_cqe(&ring, &answer) != 0) return false;
    io_uring_cqe_seen(&ring, answer);
    return true;
}

}  // namespace

std::unique_ptr<ReadEngine> make_uring_engine(std::size_t depth) {
    io_uring ring{};
    if (!start(depth, ring)) return nullptr;  // an old kernel, or a sandbox that forbids it
    if (!answers(ring)) {
        io_uring_queue_exit(&ring);
        return nullptr;
    }
    return std::make_unique<UringEngine>(ring);
}

}  // namespace fairlead

#else

namespace fairlead {

std::unique_ptr<ReadEngine> make_uring_engine(std::size_t) { return nullptr; }

}  // namespace fairlead

#endif
