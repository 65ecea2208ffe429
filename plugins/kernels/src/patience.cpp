#include "fairlead/patience.hpp"

#include <algorithm>
#include <chrono>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fairlead {
namespace {

// Looks at the value between two looks at the clock: about a microsecond.
constexpr int kLooks = 16;

std::int64_t now() {
    const auto time = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
}

}  // namespace

bool Patience::spin(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
    const std::int64_t start = now();
    std::int64_t last = start;
    while (last - start <= budget_) {
        for (int i = 0; i < kLooks; ++i) {
            if (value.load(std::memory_order_acquire) != old) {
                budget_ = std::min(kLongest, budget_ + budget_ / 64);
                return true;
            }
            pause();
        }
        const std::int64_t time = now();
        if (time - last > kPutAside) budget_ = kShortest;
        last = time;
    }
    return value.load(std::memory_order_acquire) != old;
}

#if defined(__linux__)
// Not std::atomic::wait, which yields the processor before it sleeps: a thread that has yielded is not woken.
void park(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
    syscall(SYS_futex, &value, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
}

void unpark(const std::atomic<std::uint32_t>& value, std::uint32_t count) {
    syscall(SYS_futex, &value, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}
#else
void park(const std::atomic<std::uint32_t>& value, std::uint32_t old) { value.wait(old); }

void unpark(const std::atomic<std::uint32_t>& value, std::uint32_t) {
    const_cast<std::atomic<std::uint32_t>&>(value).notify_all();
}
#endif

}  // namespace fairlead
