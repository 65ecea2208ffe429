#pragma once

#include <cstddef>

namespace fairlead::vectors {

// Zeroed bytes on page boundaries, on huge pages where the system gives them: random reads of a large array miss the
// TLB otherwise as often as the cache.
class HugeBuffer {
public:
    HugeBuffer() = default;
    explicit HugeBuffer(std::size_t bytes);
    ~HugeBuffer();
    HugeBuffer(HugeBuffer&& other) noexcept;
    HugeBuffer& operator=(HugeBuffer&& other) noexcept;

    // Keeps what fits; throws std::bad_alloc.
    void resize(std::size_t bytes);
    std::size_t size() const { return size_; }
    std::byte* data() const { return data_; }

    template <class T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace fairlead::vectors
