#include "fairlead/dispatch.hpp"

#include <atomic>
#include <stdexcept>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace fairlead {
namespace {

std::vector<const KernelTable*> find_tables() {
    std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
    // The builtin also asks the operating system (XGETBV) whether it saves the wide registers.
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        if (__builtin_cpu_supports("avx512vnni")) tables.push_back(&avx512vnni_table());
        tables.push_back(&avx512_table());
    }
    if (avx2) tables.push_back(&avx2_table());
#elif defined(__aarch64__)
    const unsigned long features = getauxval(AT_HWCAP);
    if ((features & HWCAP_ASIMD) != 0 && (features & HWCAP_ASIMDDP) != 0) tables.push_back(&neon_dotprod_table());
    if ((features & HWCAP_ASIMD) != 0) tables.push_back(&neon_table());
#endif
    tables.push_back(&plain_table());
    return tables;
}

const std::vector<const KernelTable*>& tables() {
    static const std::vector<const KernelTable*> found = find_tables();
    return found;
}

std::atomic<const KernelTable*>& active() {
    static std::atomic<const KernelTable*> table{tables().front()};
    return table;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const KernelTable* table : tables()) names.emplace_back(table->isa);
    return names;
}

void select_isa(std::string_view name) {
    for (const KernelTable* table : tables()) {
        if (name == table->isa) {
            active().store(table);
            return;
        }
    }
    throw std::invalid_argument("this processor or build has no " + std::string(name) + " kernels");
}

const KernelTable& kernels_in_use() { return *active().load(std::memory_order_relaxed); }

}  // namespace fairlead
