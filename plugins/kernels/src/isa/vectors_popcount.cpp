#include <immintrin.h>

#include "fairlead/vectors/kernels.hpp"
#include "kernels/vector_distances.hpp"

namespace fairlead::vectors {

void hamming_popcount(const SpaceQueryView& q, const std::byte* base, std::size_t stride, const std::uint32_t* ids,
                      std::size_t n, float* out) {
    const std::size_t bytes = (q.dim + 7) / 8;
    const auto* query = static_cast<const std::uint8_t*>(q.data);
    kernels::for_rows(base, stride, bytes, ids, n, out, [&](const std::byte* x) __attribute__((always_inline)) {
        __m512i sum = _mm512_setzero_si512();
        for (std::size_t i = 0; i < bytes; i += 64) {
            const __mmask64 there = bytes - i >= 64 ? ~0ULL : (1ULL << (bytes - i)) - 1;
            const __m512i stored = _mm512_maskz_loadu_epi8(there, x + i);
            const __m512i differing = _mm512_xor_si512(stored, _mm512_load_si512(query + i));
            sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differing));
        }
        return static_cast<float>(_mm512_reduce_add_epi64(sum));
    });
}

}  // namespace fairlead::vectors
