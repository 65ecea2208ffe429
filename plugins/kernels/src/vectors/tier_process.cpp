#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fairlead/vectors/remote_tiers.hpp"

namespace fairlead {
namespace {

constexpr std::size_t kMost = 512;  // ranges of one system call

// Memory of another process, read by the kernel without asking it (one-sided). Each call also reads the region's guard
// afterwards: memory that was given back, or belongs to a process of the same number, is found out.
class ProcessTier final : public Tier {
public:
    ProcessTier(std::string url, ProcessPlace place, double timeout)
        : Tier(std::move(url), place.size, timeout), place_(place) {}

    const char* kind() const override { return "process"; }

    std::uint64_t submit(std::span<const TierRead> reads) override {
        count(reads);
        for (std::size_t at = 0; at < reads.size(); at += kMost) fetch(reads.subspan(at, std::min(kMost, reads.size() - at)));
        if (reads.empty()) fetch(reads);
        return 0;
    }

    bool done(std::uint64_t) override { return true; }
    void wait(std::uint64_t) override {}

    void write(std::uint64_t offset, std::span<const std::byte> bytes) override {
        check_range(offset, bytes.size());
        fetch({});
        std::size_t at = 0;
        while (at < bytes.size()) {
            const iovec local{const_cast<std::byte*>(bytes.data() + at), bytes.size() - at};
            const iovec remote{reinterpret_cast<void*>(place_.address + offset + at), bytes.size() - at};
            const ssize_t wrote = process_vm_writev(place_.process, &local, 1, &remote, 1, 0);
            if (wrote <= 0) fail(errno);
            at += static_cast<std::size_t>(wrote);
        }
    }

private:
    void fetch(std::span<const TierRead> reads) {
        iovec local[kMost + 1];
        iovec remote[kMost + 1];
        std::size_t total = 0;
        for (std::size_t i = 0; i < reads.size(); ++i) {
            local[i] = {reads[i].into, reads[i].length};
            remote[i] = {reinterpret_cast<void*>(place_.address + reads[i].offset), reads[i].length};
            total += reads[i].length;
        }
        std::uint64_t guard = place_.guard_value;
        std::size_t ranges = reads.size();
        if (place_.guard_address != 0) {
            local[ranges] = {&guard, sizeof guard};
            remote[ranges++] = {reinterpret_cast<void*>(place_.guard_address), sizeof guard};
            total += sizeof guard;
        }
        if (ranges == 0) return;
        const ssize_t got = process_vm_readv(place_.process, local, ranges, remote, ranges, 0);
        if (got < 0) fail(errno);
        if (static_cast<std::size_t>(got) != total) fail(EFAULT);
        if (guard != place_.guard_value) lost("was given back, or its lease ran out");
    }

    [[noreturn]] void fail(int code) const {
        const std::string process = "process " + std::to_string(place_.process);
        if (code == ESRCH) lost(process + " has ended");
        if (code == EPERM) lost(process + " may not be read: it must be of the same user, or ptrace be permitted");
        if (code == EFAULT) lost(process + " does not map it any more");
        lost(process + ": " + std::strerror(code));
    }

    ProcessPlace place_;
};

}  // namespace

std::unique_ptr<Tier> make_process_tier(std::string url, ProcessPlace place, double timeout) {
    auto tier = std::make_unique<ProcessTier>(std::move(url), place, timeout);
    tier->submit({});
    return tier;
}

}  // namespace fairlead
