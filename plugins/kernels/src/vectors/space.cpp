#include "fairlead/vectors/space.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

#include "fairlead/half.hpp"
#include "fairlead/vectors/kernels.hpp"

namespace fairlead::vectors {
namespace {

bool floating(Element element) {
    return element == Element::float32 || element == Element::float16 || element == Element::bfloat16;
}

#if defined(__x86_64__)
bool has_popcount() {
    static const bool has = [] {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bw");
    }();
    return has && vector_kernels().isa[3] == '5';
}
#endif

void run(const SpaceQuery& query, const void* base, std::size_t stride, const std::uint32_t* ids, std::size_t n,
         float* out) {
    const SpaceQueryView view = query.view();
    const auto* bytes = static_cast<const std::byte*>(base);
#if defined(__x86_64__)
    if (view.element == Element::bit && has_popcount()) return hamming_popcount(view, bytes, stride, ids, n, out);
#endif
    vector_kernels().distances(view, bytes, stride, ids, n, out);
}

}  // namespace

std::size_t Space::bytes() const {
    switch (element) {
        case Element::float32: return 4 * std::size_t{dim};
        case Element::float16:
        case Element::bfloat16: return 2 * std::size_t{dim};
        case Element::int8:
        case Element::uint8: return dim;
        case Element::bit: return (std::size_t{dim} + 7) / 8;
    }
    return 0;
}

void Space::check() const {
    if (dim < 1 || dim > kMostDim) {
        throw std::invalid_argument("dim: must be 1.." + std::to_string(kMostDim) + ", got " + std::to_string(dim));
    }
}

SpaceQuery::SpaceQuery(const Space& space) : space_(space) {
    space.check();
    data_.resize(floating(space.element) ? 4 * std::size_t{space.dim}
                                         : space.element == Element::bit ? space.bytes() : 2 * std::size_t{space.dim});
}

void SpaceQuery::set(const void* vector) {
    if (floating(space_.element)) {
        to_floats(space_, vector, data_.as<float>());
        return set_floats(data_.as<float>());
    }
    if (space_.element == Element::bit) {
        std::memcpy(data_.data(), vector, space_.bytes());
        return;
    }
    double square = 0;
    for (std::size_t i = 0; i < space_.dim; ++i) {
        const int value = space_.element == Element::int8 ? static_cast<const std::int8_t*>(vector)[i]
                                                          : static_cast<const std::uint8_t*>(vector)[i];
        data_.as<std::int16_t>()[i] = static_cast<std::int16_t>(value);
        square += static_cast<double>(value) * value;
    }
    inverse_norm_ = square > 0 ? static_cast<float>(1.0 / std::sqrt(square)) : 0.0F;
}

void SpaceQuery::set_floats(const float* vector) {
    if (!floating(space_.element)) throw std::invalid_argument("query: this space's queries are not floats");
    double square = 0;
    for (std::size_t i = 0; i < space_.dim; ++i) {
        data_.as<float>()[i] = vector[i];
        square += static_cast<double>(vector[i]) * vector[i];
    }
    inverse_norm_ = square > 0 ? static_cast<float>(1.0 / std::sqrt(square)) : 0.0F;
}

SpaceQueryView SpaceQuery::view() const {
    return {data_.data(), space_.dim, space_.element, space_.metric, inverse_norm_};
}

void to_floats(const Space& space, const void* vector, float* out) {
    const auto* half = static_cast<const std::uint16_t*>(vector);
    const auto* byte = static_cast<const std::uint8_t*>(vector);
    for (std::size_t i = 0; i < space.dim; ++i) {
        switch (space.element) {
            case Element::float32: out[i] = static_cast<const float*>(vector)[i]; break;
            case Element::float16: out[i] = half_to_float(half[i]); break;
            case Element::bfloat16: out[i] = __builtin_bit_cast(float, std::uint32_t{half[i]} << 16); break;
            case Element::int8: out[i] = static_cast<float>(static_cast<std::int8_t>(byte[i])); break;
            case Element::uint8: out[i] = static_cast<float>(byte[i]); break;
            case Element::bit: out[i] = static_cast<float>(byte[i / 8] >> (i % 8) & 1); break;
        }
    }
}

void distances(const SpaceQuery& query, const void* base, std::size_t stride, const std::uint32_t* ids, std::size_t n,
               float* out) {
    run(query, base, stride, ids, n, out);
}

void distances_rows(const SpaceQuery& query, const void* rows, std::size_t stride, std::size_t n, float* out) {
    run(query, rows, stride, nullptr, n, out);
}

}  // namespace fairlead::vectors
