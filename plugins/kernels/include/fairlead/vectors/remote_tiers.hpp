#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "fairlead/vectors/tier.hpp"

namespace fairlead {

// Where a region lies in another process. The guard is eight bytes that have a value while the region is lent.
struct ProcessPlace {
    int process = 0;
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    std::uint64_t guard_address = 0;  // 0: none
    std::uint64_t guard_value = 0;
};

// process_vm_readv: one system call for hundreds of reads; the other process computes nothing.
std::unique_ptr<Tier> make_process_tier(std::string url, ProcessPlace place, double timeout);

// A connection on which the server has already lent the region; the tier owns the socket.
std::unique_ptr<Tier> make_tcp_tier(std::string url, int socket, std::uint64_t size, double timeout);

}  // namespace fairlead
