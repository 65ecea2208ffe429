#include "fairlead/pictures/feature_map.hpp"

#include <algorithm>
#include <string_view>
#include <vector>

#include "fairlead/dispatch.hpp"
#include "fairlead/thread_pool.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace fairlead::pictures {
namespace {

#if defined(__x86_64__)
// Bits of the seventh leaf (Intel SDM, volume 2A, CPUID).
struct Features {
    bool avx512bf16 = false, amx = false;
};

Features features() {
    Features found;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) found.avx512bf16 = (a >> 5 & 1) != 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) found.amx = (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0;
    return found;
}

// Linux saves tiles of those processes only that ask for it (arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA).
bool tiles_permitted() {
#if defined(__linux__)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return false;
#endif
}

using Convolve = void (*)(const Convolution&, std::size_t, std::size_t);

struct Halves {
    const char* name;
    Convolve convolve;
};

Halves find_halves() {
    const Features found = features();
    if (found.amx && found.avx512bf16 && tiles_permitted()) return {"amx", convolve_amx};
    if (found.avx512bf16) return {"avx512bf16", convolve_avx512bf16};
    return {"floats", nullptr};
}

const Halves& halves() {
    static const Halves found = find_halves();
    return found;
}
#endif

bool wide() {
    const std::string_view isa = kernels_in_use().isa;
    return isa == "avx512vnni" || isa == "avx512";
}

// Rows of one sum: always the same ones, so that results do not depend on threads.
constexpr std::size_t kRowsOfASum = 12;

}  // namespace

const MapKernels& map_kernels() {
#if defined(__x86_64__)
    if (wide()) return avx512_maps();
    if (std::string_view(kernels_in_use().isa) == "avx2") return avx2_maps();
#elif defined(__aarch64__)
    if (std::string_view(kernels_in_use().isa) != "plain") return neon_maps();
#endif
    return plain_maps();
}

const char* halves_by() {
#if defined(__x86_64__)
    if (wide()) return halves().name;
#endif
    return "floats";
}

void convolve(const Convolution& work) {
    auto* rows = map_kernels().convolve;
#if defined(__x86_64__)
    if (work.source.format == Format::halves && wide() && halves().convolve != nullptr) rows = halves().convolve;
#endif
    parallel_for(work.height, 2, 1, [&](std::size_t first, std::size_t last) { rows(work, first, last); });
}

void unshuffle(const Unshuffle& work) {
    const MapKernels& kernels = map_kernels();
    parallel_for(work.target.height, 8, 1, [&](std::size_t first, std::size_t last) { kernels.unshuffle(work, first, last); });
}

void moments(const FeatureMap& map, std::size_t step, float* mean, float* covariance) {
    const std::size_t channels = map.channels, size = channels * (channels + 1);
    const std::size_t parts = (map.height + kRowsOfASum - 1) / kRowsOfASum;
    std::vector<double> sums(parts * size, 0.0);
    auto* sum = map_kernels().sums;
#if defined(__x86_64__)
    if (map.format == Format::halves && wide() && halves().convolve != nullptr) sum = sum_rows_avx512bf16;
#endif
    parallel_for(parts, 1, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t part = first; part < last; ++part)
            sum(map, step, part * kRowsOfASum, std::min(map.height, (part + 1) * kRowsOfASum), &sums[part * size]);
    });
    for (std::size_t part = 1; part < parts; ++part)
        for (std::size_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
    const double count = static_cast<double>((map.height + step - 1) / step * ((map.width + step - 1) / step));
    for (std::size_t i = 0; i < channels; ++i) {
        mean[i] = static_cast<float>(sums[i] / count);
        for (std::size_t j = i; j < channels; ++j) {
            const double product = sums[channels + i * channels + j] / count - sums[i] / count * (sums[j] / count);
            covariance[i * channels + j] = covariance[j * channels + i] = static_cast<float>(product);
        }
    }
}

void store(const float* values, const FeatureMap& map, bool rectify) {
    const MapKernels& kernels = map_kernels();
    parallel_for(map.height, 8, 1,
                 [&](std::size_t first, std::size_t last) { kernels.store(values, map, rectify, first, last); });
}

void recolour(float* pixels, const float* mapping, std::size_t count) {
    const MapKernels& kernels = map_kernels();
    parallel_for(count, 16384, 1,
                 [&](std::size_t first, std::size_t last) { kernels.recolour(pixels, mapping, first, last); });
}

void pool(const FeatureMap& map, const FeatureMap& target) {
    const MapKernels& kernels = map_kernels();
    parallel_for(target.height, 8, 1,
                 [&](std::size_t first, std::size_t last) { kernels.pool(map, target, first, last); });
}

void spread(const FeatureMap& map, float* mean, float* variance) {
    const std::size_t channels = map.channels, parts = (map.height + kRowsOfASum - 1) / kRowsOfASum;
    std::vector<double> sums(parts * 2 * channels, 0.0);
    const MapKernels& kernels = map_kernels();
    parallel_for(parts, 1, 1, [&](std::size_t first, std::size_t last) {
        for (std::size_t part = first; part < last; ++part)
            kernels.spread(map, part * kRowsOfASum, std::min(map.height, (part + 1) * kRowsOfASum),
                           &sums[part * 2 * channels]);
    });
    const double count = static_cast<double>(map.height * map.width);
    for (std::size_t i = 0; i < channels; ++i) {
        double total = 0, square = 0;
        for (std::size_t part = 0; part < parts; ++part) {
            total += sums[part * 2 * channels + i];
            square += sums[part * 2 * channels + channels + i];
        }
        mean[i] = static_cast<float>(total / count);
        variance[i] = static_cast<float>(std::max(0.0, square / count - total / count * (total / count)));
    }
}

void slope(const Slope& work) {
    const MapKernels& kernels = map_kernels();
    parallel_for(work.features.height, 8, 1,
                 [&](std::size_t first, std::size_t last) { kernels.slope(work, first, last); });
}

}  // namespace fairlead::pictures
