#include "kernels/word_blocks.hpp"

namespace fairlead::pictures {
namespace {

struct FoursOfBytes {
    using Number = std::uint8_t;
    using Filter = std::int8_t;
    using Sum = __m512i;
    using Total = std::int32_t;
    static constexpr std::size_t kNumbers = 4, kRun = 4;

    static Sum nothing() { return _mm512_setzero_si512(); }
    static Sum add(Sum sum, __m512i seen, __m512i by) { return _mm512_dpbusd_epi32(sum, seen, by); }
};

}  // namespace

void convolve_avx512vnni(const Convolution& work, std::size_t first, std::size_t last) {
    convolve_by<FoursOfBytes>(work, first, last);
}

}  // namespace fairlead::pictures
