#include "fairlead/vectors/region_server.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "fairlead/vectors/tier.hpp"
#include "vectors/wire.hpp"

namespace fairlead {
namespace {

constexpr std::size_t kBacklog = 32 << 20;   // bytes of answers that a slow client may leave lying
constexpr double kSilence = 5.0;             // seconds in which a connection must show who it is
constexpr std::uint64_t kListener = 0, kWake = 1;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

int listen_at(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const std::string service = std::to_string(port);
    const int code = getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &found);
    if (code != 0) throw std::invalid_argument("host " + host + ": " + gai_strerror(code));
    const int listener = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const bool bound = bind(listener, found->ai_addr, found->ai_addrlen) == 0 && listen(listener, 128) == 0;
    const int why = errno;
    freeaddrinfo(found);
    if (bound) return listener;
    ::close(listener);
    errno = why;
    fail(host + ":" + service + " cannot be listened at");
}

std::uint16_t port_of(int listener) {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                               : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

}  // namespace

struct FrameView {
    wire::Header header;
    const std::byte* payload;
};

struct RegionServer::Connection {
    std::uint64_t number = 0;
    int socket = -1;
    double since = 0.0;
    std::shared_ptr<LentRegion> region;
    std::vector<std::byte> in;
    std::size_t got = 0;
    std::vector<std::byte> out;
    std::size_t sent = 0;
    bool closing = false;
    std::uint32_t watched = EPOLLIN;
    ~Connection() { ::close(socket); }
};

RegionServer::RegionServer(const std::string& host, std::uint16_t port, std::size_t connections, Handler handler)
    : most_(connections), handler_(std::move(handler)) {
    listener_ = listen_at(host, port);
    port_ = port_of(listener_);
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (epoll_ < 0 || wake_ < 0) fail("epoll");
    epoll_event event{EPOLLIN, {.u64 = kListener}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
    event.data.u64 = kWake;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
}

RegionServer::~RegionServer() {
    connections_.clear();
    for (const int each : {listener_, epoll_, wake_}) ::close(each);
}

void RegionServer::stop() {
    stopping_.store(true);
    const std::uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof one);
}

RegionServerStatistics RegionServer::statistics() const {
    return {open_.load(), accepted_.load(), garbage_.load(), refused_.load()};
}

void RegionServer::serve() {
    epoll_event events[64];
    double looked = monotonic_seconds();
    while (!stopping_.load()) {
        const int count = epoll_wait(epoll_, events, 64, 1000);
        for (int i = 0; i < count; ++i) {
            const std::uint64_t number = events[i].data.u64;
            if (number == kListener) accept_all();
            if (number <= kWake) continue;
            const auto found = connections_.find(number);
            if (found != connections_.end()) attend(*found->second, events[i].events);
        }
        if (monotonic_seconds() - looked < 1.0) continue;
        looked = monotonic_seconds();
        end_silent();
    }
    while (!connections_.empty()) end(connections_.begin()->first);
}

void RegionServer::accept_all() {
    while (true) {
        const int socket = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket < 0) return;
        if (connections_.size() >= most_) {
            ::close(socket);
            continue;
        }
        const int on = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        auto connection = std::make_unique<Connection>();
        connection->number = next_++;
        connection->socket = socket;
        connection->since = monotonic_seconds();
        epoll_event event{EPOLLIN, {.u64 = connection->number}};
        epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
        connections_.emplace(connection->number, std::move(connection));
        ++accepted_;
        ++open_;
    }
}

void RegionServer::attend(Connection& connection, std::uint32_t events) {
    const std::uint64_t number = connection.number;
    bool alive = (events & (EPOLLERR | EPOLLHUP)) == 0;
    if (alive && (events & EPOLLIN) != 0) alive = receive(connection);
    if (alive) alive = take(connection) && flush(connection);
    if (!alive || (connection.closing && connection.out.empty())) {
        end(number);
        return;
    }
    const bool full = connection.out.size() - connection.sent > kBacklog;
    const std::uint32_t wanted = (full ? 0U : EPOLLIN) | (connection.out.empty() ? 0U : EPOLLOUT);
    if (wanted == connection.watched) return;
    connection.watched = wanted;
    epoll_event event{wanted, {.u64 = number}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.socket, &event);
}

bool RegionServer::receive(Connection& connection) {
    for (int rounds = 0; rounds < 16; ++rounds) {
        if (connection.in.size() < connection.got + 65536) connection.in.resize(connection.got + 262144);
        const std::size_t room = connection.in.size() - connection.got;
        const ssize_t got = recv(connection.socket, connection.in.data() + connection.got, room, 0);
        if (got == 0) return false;
        if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        connection.got += static_cast<std::size_t>(got);
        if (static_cast<std::size_t>(got) < room) return true;
    }
    return true;
}

// Answers the whole frames that are there; false for what is no frame.
bool RegionServer::take(Connection& connection) {
    std::size_t at = 0;
    bool alive = true;
    while (alive && !connection.closing && connection.got - at >= sizeof(wire::Header) &&
           connection.out.size() - connection.sent <= kBacklog) {
        FrameView frame{};
        std::memcpy(&frame.header, connection.in.data() + at, sizeof frame.header);
        frame.payload = connection.in.data() + at + sizeof frame.header;
        if (!wire::sound(frame.header) || (!connection.region && frame.header.bytes > wire::kMostControl)) {
            ++garbage_;
            return false;
        }
        const std::size_t whole = sizeof frame.header + frame.header.bytes;
        if (connection.got - at < whole) break;
        alive = answer(connection, frame);
        at += whole;
    }
    if (at > 0) std::memmove(connection.in.data(), connection.in.data() + at, connection.got - at);
    connection.got -= at;
    return alive;
}

bool RegionServer::answer(Connection& connection, const FrameView& frame) {
    if (crc32c(frame.payload, frame.header.bytes) != frame.header.payload_crc) {
        ++garbage_;
        return false;
    }
    if (frame.header.operation == wire::kControl) return control(connection, frame);
    if (!connection.region) return refuse(connection, frame, "the connection has not been lent a region");
    if (!connection.region->lent.load()) return refuse(connection, frame, "the region was given back, or its lease ran out");
    if (frame.header.operation == wire::kRead) return read(connection, frame);
    if (frame.header.operation == wire::kWrite) return write(connection, frame);
    return refuse(connection, frame, "no operation " + std::to_string(frame.header.operation));
}

bool RegionServer::read(Connection& connection, const FrameView& frame) {
    const auto bytes = connection.region->memory->bytes();
    std::vector<wire::Range> ranges(std::min(frame.header.count, wire::kMostRanges));
    if (frame.header.bytes != frame.header.count * sizeof(wire::Range) || ranges.size() != frame.header.count) {
        return refuse(connection, frame, "a read of " + std::to_string(frame.header.count) + " ranges has another size");
    }
    std::memcpy(ranges.data(), frame.payload, frame.header.bytes);
    std::uint64_t total = 0;
    for (const wire::Range& range : ranges) {
        if (range.length > bytes.size() || range.offset > bytes.size() - range.length || range.length > wire::kMostPayload) {
            return refuse(connection, frame, "a read leaves the region");
        }
        total += range.length;
        for (std::size_t at = 0; at < range.length && at < 4096; at += 64) __builtin_prefetch(&bytes[range.offset + at], 0, 2);
    }
    if (total > wire::kMostPayload) return refuse(connection, frame, "a read asks for more than 16 MiB");
    const std::size_t begin = connection.out.size();
    connection.out.resize(begin + sizeof(wire::Header) + total);
    std::byte* into = connection.out.data() + begin + sizeof(wire::Header);
    for (const wire::Range& range : ranges) {
        std::memcpy(into, bytes.data() + range.offset, range.length);
        into += range.length;
    }
    reply(connection, frame, wire::kDone, begin);
    connection.region->reads += ranges.size();
    connection.region->bytes_read += total;
    return true;
}

bool RegionServer::write(Connection& connection, const FrameView& frame) {
    wire::Range range{};
    if (frame.header.bytes < sizeof range) return refuse(connection, frame, "a write has no range");
    std::memcpy(&range, frame.payload, sizeof range);
    const auto bytes = connection.region->memory->bytes();
    if (range.length != frame.header.bytes - sizeof range || range.length > bytes.size() ||
        range.offset > bytes.size() - range.length) {
        return refuse(connection, frame, "a write leaves the region");
    }
    std::memcpy(bytes.data() + range.offset, frame.payload + sizeof range, range.length);
    ++connection.region->writes;
    connection.region->bytes_written += range.length;
    const std::size_t begin = connection.out.size();
    connection.out.resize(begin + sizeof(wire::Header));
    reply(connection, frame, wire::kDone, begin);
    return true;
}

bool RegionServer::control(Connection& connection, const FrameView& frame) {
    const std::string_view text(reinterpret_cast<const char*>(frame.payload), frame.header.bytes);
    ControlAnswer said = handler_(connection.number, text, false);
    if (said.region) connection.region = std::move(said.region);
    connection.closing = connection.closing || said.close;
    const std::size_t begin = connection.out.size();
    connection.out.resize(begin + sizeof(wire::Header));
    wire::append(connection.out, said.text.data(), said.text.size());
    reply(connection, frame, wire::kDone, begin);
    return true;
}

bool RegionServer::refuse(Connection& connection, const FrameView& frame, const std::string& why) {
    ++refused_;
    const std::size_t begin = connection.out.size();
    connection.out.resize(begin + sizeof(wire::Header));
    wire::append(connection.out, why.data(), why.size());
    reply(connection, frame, wire::kRefused, begin);
    return true;
}

// Fills in the header of the answer that begins at `begin` of what goes out.
void RegionServer::reply(Connection& connection, const FrameView& frame, std::uint16_t status, std::size_t begin) {
    const std::size_t payload = begin + sizeof(wire::Header);
    const auto bytes = static_cast<std::uint32_t>(connection.out.size() - payload);
    const std::uint32_t crc = crc32c(connection.out.data() + payload, bytes);
    const wire::Header header = wire::seal({0, frame.header.operation, status, frame.header.id, 0, bytes, crc, 0});
    std::memcpy(connection.out.data() + begin, &header, sizeof header);
}

bool RegionServer::flush(Connection& connection) {
    while (connection.sent < connection.out.size()) {
        const ssize_t got =
            send(connection.socket, connection.out.data() + connection.sent, connection.out.size() - connection.sent, MSG_NOSIGNAL);
        if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        connection.sent += static_cast<std::size_t>(got);
    }
    connection.out.clear();
    connection.sent = 0;
    return true;
}

void RegionServer::end(std::uint64_t number) {
    handler_(number, {}, true);
    connections_.erase(number);
    --open_;
}

// Connections that never showed who they are, and those whose region is lent no more, so that its memory is free.
void RegionServer::end_silent() {
    std::vector<std::uint64_t> silent;
    for (const auto& [number, connection] : connections_) {
        const bool stranger = !connection->region && monotonic_seconds() - connection->since > kSilence;
        const bool over = connection->region && !connection->region->lent.load() && connection->out.empty();
        if (stranger || over) silent.push_back(number);
    }
    for (const std::uint64_t number : silent) end(number);
}

}  // namespace fairlead
