#include "fairlead/vectors/huge_buffer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fairlead::vectors {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLine = 64;

std::byte* allocate(std::size_t bytes) {
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
    void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (data == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (bytes >= kHugePage) madvise(data, (bytes + alignment - 1) / alignment * alignment, MADV_HUGEPAGE);
#endif
    return static_cast<std::byte*>(data);
}

}  // namespace

HugeBuffer::HugeBuffer(std::size_t bytes) { resize(bytes); }

HugeBuffer::~HugeBuffer() { std::free(data_); }

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

void HugeBuffer::resize(std::size_t bytes) {
    if (bytes == size_) return;
    std::byte* data = bytes == 0 ? nullptr : allocate(bytes);
    const std::size_t kept = std::min(bytes, size_);
    if (kept > 0) std::memcpy(data, data_, kept);
    if (bytes > kept) std::memset(data + kept, 0, bytes - kept);
    std::free(data_);
    data_ = data;
    size_ = bytes;
}

}  // namespace fairlead::vectors
