#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fairlead/vectors/tier_memory.hpp"

namespace fairlead {

// A region as a memory node lends it; the memory stays while anybody reads it.
struct LentRegion {
    std::shared_ptr<TierMemory> memory;
    std::atomic<bool> lent{true};
    std::atomic<std::uint64_t> reads{0};
    std::atomic<std::uint64_t> writes{0};
    std::atomic<std::uint64_t> bytes_read{0};
    std::atomic<std::uint64_t> bytes_written{0};
};

// What the handler of control messages says.
struct ControlAnswer {
    std::string text;
    std::shared_ptr<LentRegion> region;  // that the connection may read and write from now on; null: as before
    bool close = false;
};

struct RegionServerStatistics {
    std::uint64_t connections = 0;  // now
    std::uint64_t accepted = 0;
    std::uint64_t garbage = 0;  // connections that were closed because they sent no frames of the protocol
    std::uint64_t refused = 0;  // reads and writes
};

// A memory node's socket: one thread, frames of src/vectors/wire.hpp. Reads and writes are answered here; control messages
// go to the handler, and a connection that the handler has given no region gets none.
class RegionServer {
public:
    // `text` of a connection; none where the connection ended.
    using Handler = std::function<ControlAnswer(std::uint64_t connection, std::string_view text, bool ended)>;

    RegionServer(const std::string& host, std::uint16_t port, std::size_t connections, Handler handler);
    ~RegionServer();
    std::uint16_t port() const { return port_; }
    // Until stop(), which any thread may call.
    void serve();
    void stop();
    RegionServerStatistics statistics() const;

private:
    struct Connection;
    void accept_all();
    void attend(Connection& connection, std::uint32_t events);
    bool receive(Connection& connection);
    bool take(Connection& connection);
    bool flush(Connection& connection);
    bool answer(Connection& connection, const struct FrameView& frame);
    bool read(Connection& connection, const FrameView& frame);
    bool write(Connection& connection, const FrameView& frame);
    bool control(Connection& connection, const FrameView& frame);
    bool refuse(Connection& connection, const FrameView& frame, const std::string& why);
    void reply(Connection& connection, const FrameView& frame, std::uint16_t status, std::size_t payload_at);
    void end(std::uint64_t number);
    void end_silent();

    int listener_ = -1;
    int epoll_ = -1;
    int wake_ = -1;
    std::uint16_t port_ = 0;
    std::size_t most_;
    Handler handler_;
    std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
    std::uint64_t next_ = 2;
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> open_{0}, accepted_{0}, garbage_{0}, refused_{0};
};

}  // namespace fairlead
