#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace fairlead::vectors {

inline constexpr std::size_t kLine = 64;

inline constexpr std::size_t whole_lines(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

// Zeroed bytes that begin on a cache line and fill whole ones, so that kernels may load past the last element.
class AlignedBytes {
public:
    AlignedBytes() = default;
    explicit AlignedBytes(std::size_t bytes) { resize(bytes); }

    // Zeroes all; keeps the memory where it suffices.
    void resize(std::size_t bytes) {
        const std::size_t needed = whole_lines(bytes);
        if (needed > capacity_) {
            data_.reset(static_cast<std::byte*>(::operator new(needed, std::align_val_t{kLine})));
            capacity_ = needed;
        }
        size_ = bytes;
        if (needed > 0) std::memset(data_.get(), 0, needed);
    }

    std::size_t size() const { return size_; }
    std::byte* data() { return data_.get(); }
    const std::byte* data() const { return data_.get(); }
    template <class T>
    T* as() {
        return reinterpret_cast<T*>(data_.get());
    }
    template <class T>
    const T* as() const {
        return reinterpret_cast<const T*>(data_.get());
    }

private:
    struct Free {
        void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{kLine}); }
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace fairlead::vectors
