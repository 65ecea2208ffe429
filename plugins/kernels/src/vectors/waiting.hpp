#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fairlead {

inline std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// Lets the other hyper-thread of a core compute while one looks again.
inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

inline void sleep_ns(long nanoseconds) {
    const timespec nap{0, nanoseconds};
    nanosleep(&nap, nullptr);
}

// Sleeps while the word, which other processes may map, is `value`; at most so long.
inline void wait_on(std::atomic<std::uint32_t>& word, std::uint32_t value, double seconds) {
#if defined(__linux__)
    const auto whole = static_cast<time_t>(seconds);
    const timespec limit{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, value, &limit, nullptr, 0);
#else
    (void)word, (void)value, (void)seconds;
    sleep_ns(100'000);
#endif
}

inline void wake(std::atomic<std::uint32_t>& word) {
    word.store(0);
#if defined(__linux__)
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, 1, nullptr, nullptr, 0);
#endif
}

}  // namespace fairlead
