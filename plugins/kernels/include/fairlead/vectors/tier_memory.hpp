#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace fairlead {

// Pages that a region lies in: anonymous memory, or a file that several processes map.
class TierMemory {
public:
    // Zeroed memory of this process, in large pages where the system has them. Throws std::system_error.
    static std::shared_ptr<TierMemory> anonymous(std::size_t bytes);
    // The same on one NUMA node (a processor's own memory, or CXL memory that the system shows as a node), else not at all.
    static std::shared_ptr<TierMemory> on_node(std::size_t bytes, unsigned node);
    // Maps an open file of at least `bytes`; the descriptor may be closed afterwards.
    static std::shared_ptr<TierMemory> mapped(int file, std::size_t bytes, bool writable);

    ~TierMemory();
    TierMemory(const TierMemory&) = delete;
    TierMemory& operator=(const TierMemory&) = delete;

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }
    bool writable() const { return writable_; }
    std::span<std::byte> bytes() const { return {data_, size_}; }

private:
    TierMemory(std::byte* data, std::size_t size, bool writable) : data_(data), size_(size), writable_(writable) {}

    std::byte* data_;
    std::size_t size_;
    bool writable_;
};

}  // namespace fairlead
