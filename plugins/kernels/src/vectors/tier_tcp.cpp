#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "fairlead/vectors/remote_tiers.hpp"
#include "vectors/pending_tickets.hpp"
#include "vectors/wire.hpp"

namespace fairlead {
namespace {

constexpr std::uint32_t kMostAnswer = 1 << 20;  // bytes that one frame asks for, unless one read is longer
constexpr int kSpins = 200;                     // looks at the socket before sleeping for it

// Frames go out as they are asked for, and are answered in their order. After any fault the connection is over.
class TcpTier final : public Tier {
public:
    TcpTier(std::string url, int socket, std::uint64_t size, double timeout)
        : Tier(std::move(url), size, timeout), socket_(socket) {
        const int on = 1;
        setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
    }

    ~TcpTier() override { ::close(socket_); }

    const char* kind() const override { return "memory"; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        if (!broken_.empty()) lost(broken_);
        count(reads);
        std::vector<std::span<const TierRead>> frames = cut(reads);
        if (frames.empty()) return 0;
        const std::uint64_t ticket = tickets_.open(static_cast<std::uint32_t>(frames.size()), monotonic_seconds() + timeout());
        for (const auto& frame : frames) ask(ticket, frame);
        send();
        return ticket;
    }

    bool done(std::uint64_t ticket) override {
        if (!tickets_.done(ticket)) {
            send();
            receive();
            if (!tickets_.done(ticket) && ++polls_ % 64 == 0 && monotonic_seconds() > tickets_.deadline(ticket)) give_up();
        }
        return tickets_.done(ticket);
    }

    void wait(std::uint64_t ticket) override {
        for (int spins = 0; !tickets_.done(ticket); ++spins) {
            send();
            if (receive() || spins < kSpins) continue;
            const double left = tickets_.deadline(ticket) - monotonic_seconds();
            if (left <= 0.0) give_up();
            pollfd ready{socket_, static_cast<short>(POLLIN | (sent_ < out_.size() ? POLLOUT : 0)), 0};
            poll(&ready, 1, std::max(1, static_cast<int>(std::min(left, 1.0) * 1000)));
        }
    }

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        if (!broken_.empty()) lost(broken_);
        constexpr std::size_t piece = 1 << 20;
        std::uint64_t last = 0;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            last = put(offset + at, bytes.subspan(at, std::min(piece, bytes.size() - at)));
            if (out_.size() - sent_ > 4 * piece) wait(last);
        }
        wait(last);
    }

private:
    struct Asked {
        std::uint64_t ticket = 0;
        std::uint64_t id = 0;
        std::uint64_t bytes = 0;
        std::vector<TierRead> reads;
    };

    static std::vector<std::span<const TierRead>> cut(std::span<const TierRead> reads) {
        std::vector<std::span<const TierRead>> frames;
        std::size_t begin = 0;
        std::uint64_t bytes = 0;
        for (std::size_t i = 0; i < reads.size(); ++i) {
            if (i > begin && (bytes + reads[i].length > kMostAnswer || i - begin == wire::kMostRanges)) {
                frames.push_back(reads.subspan(begin, i - begin));
                begin = i;
                bytes = 0;
            }
            bytes += reads[i].length;
        }
        if (begin < reads.size()) frames.push_back(reads.subspan(begin));
        return frames;
    }

    void ask(std::uint64_t ticket, std::span<const TierRead> reads) {
        Asked asked{ticket, ++id_, 0, {reads.begin(), reads.end()}};
        std::vector<wire::Range> ranges;
        for (const TierRead& read : reads) {
            if (read.length > wire::kMostPayload) throw std::out_of_range(url() + ": a read may have 16 MiB at most");
            ranges.push_back({read.offset, read.length});
            asked.bytes += read.length;
        }
        push(wire::kRead, asked.id, static_cast<std::uint32_t>(ranges.size()), ranges.data(), ranges.size() * sizeof(wire::Range));
        asked_.push_back(std::move(asked));
    }

    std::uint64_t put(std::uint64_t offset, std::span<const std::byte> bytes) {
        const wire::Range range{offset, bytes.size()};
        std::vector<std::byte> payload;
        wire::append(payload, &range, sizeof range);
        wire::append(payload, bytes.data(), bytes.size());
        const std::uint64_t ticket = tickets_.open(1, monotonic_seconds() + timeout());
        asked_.push_back({ticket, ++id_, 0, {}});
        push(wire::kWrite, id_, 1, payload.data(), payload.size());
        return ticket;
    }

    void push(wire::Operation operation, std::uint64_t id, std::uint32_t count, const void* payload, std::size_t bytes) {
        const auto crc = crc32c(payload, bytes);
        const wire::Header header =
            wire::seal({0, operation, 0, id, count, static_cast<std::uint32_t>(bytes), crc, 0});
        wire::append(out_, &header, sizeof header);
        wire::append(out_, payload, bytes);
    }

    void send() {
        while (sent_ < out_.size()) {
            const ssize_t got = ::send(socket_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
            if (got < 0 && errno != EINTR) fail(std::string("the connection broke: ") + std::strerror(errno));
            if (got > 0) sent_ += static_cast<std::size_t>(got);
        }
        out_.clear();
        sent_ = 0;
    }

    // Takes what is there; whether anything was.
    bool receive() {
        bool any = false;
        while (!asked_.empty()) {
            if (in_.size() < got_ + 65536) in_.resize(std::max<std::size_t>(got_ + 65536, needed_));
            const ssize_t got = ::recv(socket_, in_.data() + got_, in_.size() - got_, 0);
            if (got == 0) fail("the memory node closed the connection");
            if (got < 0 && errno == EINTR) continue;
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return any;
            if (got < 0) fail(std::string("the connection broke: ") + std::strerror(errno));
            any = true;
            got_ += static_cast<std::size_t>(got);
            take();
        }
        return any;
    }

    void take() {
        std::size_t at = 0;
        needed_ = 0;
        while (got_ - at >= sizeof(wire::Header)) {
            wire::Header header;
            std::memcpy(&header, in_.data() + at, sizeof header);
            if (!wire::sound(header)) fail("what answers is no memory node, or sends garbage");
            if (got_ - at < sizeof header + header.bytes) {
                needed_ = sizeof header + header.bytes;
                break;
            }
            settle(header, in_.data() + at + sizeof header);
            at += sizeof header + header.bytes;
        }
        std::memmove(in_.data(), in_.data() + at, got_ - at);
        got_ -= at;
    }

    void settle(const wire::Header& header, const std::byte* payload) {
        if (header.payload_crc != crc32c(payload, header.bytes)) fail("an answer arrived damaged (its checksum is wrong)");
        if (header.status != wire::kDone) fail({reinterpret_cast<const char*>(payload), header.bytes});
        if (asked_.empty() || header.id != asked_.front().id || header.bytes != asked_.front().bytes) {
            fail("what answers does not keep the order or the sizes of what was asked");
        }
        std::size_t at = 0;
        for (const TierRead& read : asked_.front().reads) {
            std::memcpy(read.into, payload + at, read.length);
            at += read.length;
        }
        const std::uint64_t ticket = asked_.front().ticket;
        asked_.pop_front();
        tickets_.arrived(ticket);
    }

    [[noreturn]] void fail(const std::string& what) {
        broken_ = what;
        shutdown(socket_, SHUT_RDWR);
        lost(what);
    }

    [[noreturn]] void give_up() {
        broken_ = "did not answer in time before";
        shutdown(socket_, SHUT_RDWR);
        late();
    }

    int socket_;
    std::uint64_t id_ = 0;
    std::uint64_t polls_ = 0;
    std::string broken_;
    std::vector<std::byte> out_;
    std::size_t sent_ = 0;
    std::vector<std::byte> in_;
    std::size_t got_ = 0;
    std::size_t needed_ = 0;
    std::deque<Asked> asked_;
    PendingTickets tickets_;
};

}  // namespace

std::unique_ptr<Tier> make_tcp_tier(std::string url, int socket, std::uint64_t size, double timeout) {
    return std::make_unique<TcpTier>(std::move(url), socket, size, timeout);
}

}  // namespace fairlead
