#pragma once

#include <memory>
#include <string>

#include "fairlead/vectors/tier.hpp"

namespace fairlead {

// Why one-sided reads by UCX cannot be had here; empty where they can. The library is loaded at the first call.
std::string ucx_missing();

// Lets others read memory of this process by UCX; a thread moves on what the hardware does not do by itself.
class UcxNode {
public:
    UcxNode();
    ~UcxNode();
    // The address that clients connect to.
    const std::string& address() const;
    // Registers memory, which must stay until withdraw(); what clients need to read it.
    std::string offer(const std::shared_ptr<TierMemory>& memory);
    void withdraw(const std::shared_ptr<TierMemory>& memory);

private:
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

struct UcxPlace {
    std::string node;    // UcxNode::address()
    std::string key;     // UcxNode::offer()
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    int control = -1;  // a connection to the memory node: when it ends the region is lost; the tier owns it
};

std::unique_ptr<Tier> make_ucx_tier(std::string url, UcxPlace place, double timeout);

}  // namespace fairlead
