#include "fairlead/pictures/feature_map.hpp"

#include <algorithm>
#include <cstddef>
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
    bool avx512bf16 = false, avx512vnni = false, amx = false;
};

Features features() {
    Features found;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) found.avx512bf16 = (a >> 5 & 1) != 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
        found.avx512vnni = (c >> 11 & 1) != 0;
        found.amx = (d >> 22 & 1) != 0 && (d >> 24 & 1) != 0;
    }
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
bool multiplies_bytes() {
    static const bool found = [] {
        const Features all = features();
        return all.avx512vnni && all.avx512bf16;
    }();
    return found;
}
#endif

bool wide() {
    const std::string_view isa = kernels_in_use().isa;
    return isa == "avx512vnni" || isa == "avx512";
}

// Rows of one sum: always the same ones, so that results do not depend on threads.
constexpr std::size_t kRowsOfASum = 12;

// Rows whose numbers a scale of bytes is found by: about this many, and none further apart than that.
constexpr std::size_t kLookedAt = 8, kFurthest = 16;

std::size_t rows_apart(std::size_t height) { return std::clamp<std::size_t>(height / kLookedAt, 1, kFurthest); }

bool wants_scale(const FeatureMap* map) {
    return map != nullptr && map->format == Format::bytes && !(map->scale > 0);
}

// Of numbers that reach as far, on both sides of a zero or above it.
float scale_of(float reach, const FeatureMap& map) {
    const float most = static_cast<float>(map.zero == 0 ? 255 : std::min<int>(map.zero, 255 - map.zero));
    return std::max(reach, 1e-20f) * kReach / most;
}

FeatureMap from_row(FeatureMap map, std::size_t row) {
    map.data = static_cast<std::byte*>(map.data) + row * map.pitch() * static_cast<std::size_t>(map.format);
    return map;
}

// The largest of the numbers that `fill(row, map)` writes on a map of a few rows [height, width, channels], for rows
// from all over.
template <class Fill>
float reach(std::size_t rows, std::size_t height, std::size_t width, std::size_t channels, const Fill& fill) {
    const std::size_t apart = rows_apart(rows), count = (rows - apart / 2 + apart - 1) / apart;
    std::vector<float> found(count, 0.0f);
    parallel_for(count, 2, 1, [&](std::size_t first, std::size_t last) {
        const std::size_t numbers = height * width * channels;
        std::vector<float> held(numbers + slack(channels));
        const FeatureMap map{held.data(), height, width, channels, 0, Format::floats};
        for (std::size_t index = first; index < last; ++index) {
            fill(apart / 2 + index * apart, map);
            found[index] = map_kernels().largest(held.data(), numbers);
        }
    });
    return *std::max_element(found.begin(), found.end());
}

// From sums of channels, then of their squares.
void give_spread(const double* sums, std::size_t channels, double count, float* mean, float* variance) {
    for (std::size_t i = 0; i < channels; ++i) {
        const double middle = sums[i] / count;
        mean[i] = static_cast<float>(middle);
        variance[i] = static_cast<float>(std::max(0.0, sums[channels + i] / count - middle * middle));
    }
}

using Rows = void (*)(const Convolution&, std::size_t, std::size_t);

Rows rows_of(const Convolution& work) {
#if defined(__x86_64__)
    if (work.source.format == Format::halves && wide() && halves().convolve != nullptr) return halves().convolve;
    if (work.source.format == Format::bytes && wide() && multiplies_bytes()) return convolve_avx512vnni;
#endif
    return map_kernels().convolve;
}

float reach(const Convolution& work, Rows rows) {
    return reach(work.height, work.growth, work.width * work.growth, work.outputs,
                 [&](std::size_t row, const FeatureMap& map) {
                     Convolution one = work;
                     one.source = from_row(work.source, row * work.stride);
                     one.height = 1;
                     FeatureMap skip;
                     if (work.skip != nullptr) {
                         skip = from_row(*work.skip, row * work.growth);
                         one.skip = &skip;
                     }
                     one.kept = nullptr;
                     one.noted = nullptr;
                     one.rectified = &map;
                     rows(one, 0, 1);
                 });
}

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

const char* bytes_by() {
#if defined(__x86_64__)
    if (wide() && multiplies_bytes()) return "avx512vnni";
#endif
    return "words";
}

float convolve(const Convolution& work) {
    const Rows rows = rows_of(work);
    Convolution whole = work;
    FeatureMap rectified;
    if (wants_scale(work.rectified)) {
        rectified = *work.rectified;
        rectified.scale = scale_of(reach(work, rows), rectified);
        whole.rectified = &rectified;
    }
    parallel_for(work.height, 2, 1, [&](std::size_t first, std::size_t last) { rows(whole, first, last); });
    return whole.rectified == nullptr ? 0 : whole.rectified->scale;
}

float convolve(const Convolution& work, float* mean, float* variance) {
    const std::size_t size = 2 * work.outputs;
    std::vector<float> rows(work.height * size, 0.0f);
    Convolution noting = work;
    noting.noted = rows.data();
    const float scale = convolve(noting);
    std::vector<double> sums(size, 0.0);
    for (std::size_t row = 0; row < work.height; ++row)
        for (std::size_t i = 0; i < size; ++i) sums[i] += rows[row * size + i];
    give_spread(sums.data(), work.outputs, static_cast<double>(work.height * work.width), mean, variance);
    return scale;
}

float unshuffle(const Unshuffle& work) {
    const MapKernels& kernels = map_kernels();
    Unshuffle whole = work;
    if (wants_scale(&work.target)) {
        const std::size_t height = work.target.height, width = work.target.width;
        const float most = reach(height, 1, width, work.target.channels, [&](std::size_t row, const FeatureMap& map) {
            Unshuffle one = work;
            one.picture += row * 12 * width;
            if (one.details != nullptr) one.details += row * 12 * width;
            one.richer = nullptr;
            one.target = map;
            kernels.unshuffle(one, 0, 1);
        });
        whole.target.scale = scale_of(most, work.target);
    }
    parallel_for(work.target.height, 8, 1,
                 [&](std::size_t first, std::size_t last) { kernels.unshuffle(whole, first, last); });
    return whole.target.scale;
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

float store(const float* values, const FeatureMap& map, bool rectify) {
    const MapKernels& kernels = map_kernels();
    FeatureMap target = map;
    if (wants_scale(&map))
        target.scale = scale_of(kernels.largest(values, map.height * map.width * map.channels) / kReach, map);
    parallel_for(map.height, 8, 1,
                 [&](std::size_t first, std::size_t last) { kernels.store(values, target, rectify, first, last); });
    return target.scale;
}

void recolour(float* pixels, const float* mapping, std::size_t count) {
    const MapKernels& kernels = map_kernels();
    parallel_for(count, 16384, 1,
                 [&](std::size_t first, std::size_t last) { kernels.recolour(pixels, mapping, first, last); });
}

float pool(const FeatureMap& map, const FeatureMap& target) {
    const MapKernels& kernels = map_kernels();
    FeatureMap to = target;
    // Means are no larger than what they are of.
    if (wants_scale(&target)) to.scale = map.scale;
    parallel_for(target.height, 8, 1, [&](std::size_t first, std::size_t last) { kernels.pool(map, to, first, last); });
    return to.scale;
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
    for (std::size_t part = 1; part < parts; ++part)
        for (std::size_t i = 0; i < 2 * channels; ++i) sums[i] += sums[part * 2 * channels + i];
    give_spread(sums.data(), channels, static_cast<double>(map.height * map.width), mean, variance);
}

float slope(const Slope& work) {
    const MapKernels& kernels = map_kernels();
    const FeatureMap& map = work.features;
    Slope whole = work;
    if (wants_scale(&work.target)) {
        const float most = reach(map.height, 1, map.width, map.channels, [&](std::size_t row, const FeatureMap& target) {
            Slope one = work;
            one.features = from_row(map, row);
            one.features.height = 1;
            FeatureMap above, other;
            if (work.above != nullptr) {
                above = from_row(*work.above, row * work.above->height / map.height);
                one.above = &above;
            }
            if (work.other != nullptr) {
                other = from_row(*work.other, row);
                one.other = &other;
            }
            one.target = target;
            kernels.slope(one, 0, 1);
        });
        whole.target.scale = scale_of(most, work.target);
    }
    parallel_for(map.height, 8, 1,
                 [&](std::size_t first, std::size_t last) { kernels.slope(whole, first, last); });
    return whole.target.scale;
}

}  // namespace fairlead::pictures
