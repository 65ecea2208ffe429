#pragma once

#include <atomic>
#include <cstdint>

namespace fairlead {

// How long a thread spins for a value to change before it sleeps. Waking a sleeper costs tens of microseconds where
// a virtual machine's processor has halted, so an undisturbed thread spins for longer than the gaps between a
// decoder's operations. A spin during which the system gave the processor to somebody else shows that others want it:
// then spins get short at once, so that the thread sleeps and is run promptly when it is woken, and they grow again
// slowly.
class Patience {
public:
    // Spins until the value is no longer `old`; false: it still was when patience ran out.
    bool spin(const std::atomic<std::uint32_t>& value, std::uint32_t old);

private:
    static constexpr std::int64_t kShortest = 2'000;  // nanoseconds
    static constexpr std::int64_t kLongest = 100'000;
    // A gap between two looks at the clock that no pause or interrupt explains.
    static constexpr std::int64_t kPutAside = 300'000;

    std::int64_t budget_ = kLongest;
};

// Sleeps unless the value is no longer `old`; may return early.
void park(const std::atomic<std::uint32_t>& value, std::uint32_t old);
// Wakes up to `count` of those that sleep on the value.
void unpark(const std::atomic<std::uint32_t>& value, std::uint32_t count);

}  // namespace fairlead
