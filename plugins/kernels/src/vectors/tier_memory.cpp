#include "fairlead/vectors/tier_memory.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace fairlead {
namespace {

std::byte* map(std::size_t bytes, int protection, int flags, int file) {
    void* memory = mmap(nullptr, bytes, protection, flags, file, 0);
    if (memory == MAP_FAILED) {
        throw std::system_error(errno, std::generic_category(), std::to_string(bytes) + " bytes cannot be mapped");
    }
#if defined(MADV_HUGEPAGE)
    madvise(memory, bytes, MADV_HUGEPAGE);  // random reads of small pages miss the TLB each time
#endif
    return static_cast<std::byte*>(memory);
}

}  // namespace

std::shared_ptr<TierMemory> TierMemory::anonymous(std::size_t bytes) {
    const std::size_t least = bytes == 0 ? 1 : bytes;
    std::byte* data = map(least, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    return std::shared_ptr<TierMemory>(new TierMemory(data, bytes, true));
}

std::shared_ptr<TierMemory> TierMemory::on_node(std::size_t bytes, unsigned node) {
    auto memory = anonymous(bytes);
#if defined(SYS_mbind)
    constexpr int bind = 2;  // MPOL_BIND
    unsigned long nodes[16] = {};
    constexpr unsigned most = sizeof nodes * 8;
    if (node >= most - 1) throw std::system_error(EINVAL, std::generic_category(), "node " + std::to_string(node));
    nodes[node / (8 * sizeof nodes[0])] |= 1UL << (node % (8 * sizeof nodes[0]));
    if (syscall(SYS_mbind, memory->data(), bytes, bind, nodes, most, 0) == 0) return memory;
    throw std::system_error(errno, std::generic_category(), "memory cannot be bound to node " + std::to_string(node));
#else
    throw std::system_error(ENOSYS, std::generic_category(), "memory cannot be bound to node " + std::to_string(node));
#endif
}

std::shared_ptr<TierMemory> TierMemory::mapped(int file, std::size_t bytes, bool writable) {
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    std::byte* data = map(bytes == 0 ? 1 : bytes, protection, MAP_SHARED, file);
    return std::shared_ptr<TierMemory>(new TierMemory(data, bytes, writable));
}

TierMemory::~TierMemory() { munmap(data_, size_ == 0 ? 1 : size_); }

}  // namespace fairlead
