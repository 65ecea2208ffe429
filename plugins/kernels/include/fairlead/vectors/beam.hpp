#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fairlead::vectors {

// The nearest vertices that a walk has met, sorted by (score, vertex). A key holds both, so that a vertex met again
// (it has the same score) is found by the search for its place: no set of visited vertices is needed. One that fell
// out cannot come back, since the limit only falls.
class Beam {
public:
    static constexpr std::uint64_t kExpanded = 1;

    explicit Beam(std::size_t capacity = 0) { reset(capacity); }

    void reset(std::size_t capacity) {
        keys_.resize(capacity + 1);
        capacity_ = capacity;
        size_ = 0;
        next_ = 0;
    }

    static std::uint64_t key(std::int32_t score, std::uint32_t vertex) {
        const std::uint64_t ordered = static_cast<std::uint32_t>(score) ^ 0x80000000U;
        return ordered << 32 | static_cast<std::uint64_t>(vertex) << 1;
    }
    static std::uint32_t vertex(std::uint64_t key) { return static_cast<std::uint32_t>(key) >> 1; }
    static std::int32_t score(std::uint64_t key) {
        return static_cast<std::int32_t>(static_cast<std::uint32_t>(key >> 32) ^ 0x80000000U);
    }

    // Scores below this one enter.
    std::int32_t limit() const {
        if (size_ < capacity_) return INT32_MAX;
        return size_ > 0 ? score(keys_[size_ - 1]) : INT32_MIN;
    }

    void insert(std::uint64_t key) {
        if (size_ == capacity_ && (size_ == 0 || key > keys_[size_ - 1])) return;
        const std::size_t place = place_of(key);
        if (place == capacity_ || (place < size_ && (keys_[place] | kExpanded) == (key | kExpanded))) return;
        if (size_ < capacity_) ++size_;
        std::memmove(keys_.data() + place + 1, keys_.data() + place, (size_ - 1 - place) * sizeof(std::uint64_t));
        keys_[place] = key;
        if (place < next_) next_ = place;
    }

    // Marks the nearest vertex that is not expanded and returns its key; 0 when there is none.
    std::uint64_t expand() {
        while (next_ < size_ && (keys_[next_] & kExpanded) != 0) ++next_;
        if (next_ == size_) return 0;
        keys_[next_] |= kExpanded;
        return keys_[next_++];
    }

    std::size_t size() const { return size_; }
    std::size_t capacity() const { return capacity_; }
    std::uint64_t operator[](std::size_t i) const { return keys_[i]; }

private:
    // How many keys are smaller; without branches that depend on them.
    std::size_t place_of(std::uint64_t key) const {
        const std::uint64_t* first = keys_.data();
        std::size_t rest = size_;
        while (rest > 0) {
            const std::size_t half = (rest + 1) / 2;
            first += (first[half - 1] | kExpanded) < (key | kExpanded) ? half : 0;
            rest -= half;
        }
        return static_cast<std::size_t>(first - keys_.data());
    }

    std::vector<std::uint64_t> keys_;
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
    std::size_t next_ = 0;  // nothing before it waits to be expanded
};

}  // namespace fairlead::vectors
