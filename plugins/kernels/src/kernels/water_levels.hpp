#pragma once

// The dual of powers on blocks, a register of blocks at a time in the compiler's own vectors. No standard library and internal linkage: an out-of-line copy could reach an older processor.

#include <cstddef>
#include <cstdint>

#include "fairlead/inline.hpp"
#include "fairlead/radio/level_kernels.hpp"

namespace fairlead::radio {
namespace {

#if defined(__AVX512F__)
inline constexpr std::size_t kWide = 8;
#elif defined(__AVX2__)
inline constexpr std::size_t kWide = 4;
#else
inline constexpr std::size_t kWide = 2;
#endif
static_assert(kLevelLanes % kWide == 0);
using Lanes = double __attribute__((vector_size(kWide * sizeof(double))));
using Bits = std::int64_t __attribute__((vector_size(kWide * sizeof(std::int64_t))));

FAIRLEAD_INLINE Lanes load(const double* from) {
    Lanes out;
    __builtin_memcpy(&out, from, sizeof(out));
    return out;
}

FAIRLEAD_INLINE void store(double* to, Lanes values) { __builtin_memcpy(to, &values, sizeof(values)); }

FAIRLEAD_INLINE Lanes all(double value) { return value - Lanes{}; }

FAIRLEAD_INLINE double sum(Lanes values) {
    double out = 0;
    for (std::size_t i = 0; i < kWide; ++i) out += values[i];
    return out;
}

// ln x for normal x > 0, within a few roundings: the exponent, and the series of atanh for what is left (|f| < 0.172).
FAIRLEAD_INLINE Lanes log_of(Lanes x) {
    const Bits bits = reinterpret_cast<Bits>(x);
    const Lanes whole = reinterpret_cast<Lanes>((bits >> 52) | 0x4330000000000000) - (4503599627370496.0 + 1023);
    const Lanes part = reinterpret_cast<Lanes>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
    const Bits upper = part > 1.4142135623730951;
    const Lanes m = upper ? 0.5 * part : part, e = upper ? whole + 1 : whole;
    const Lanes f = (m - 1) / (m + 1), s = f * f;
    Lanes series = s * (1.0 / 21) + 1.0 / 19;
    series = series * s + 1.0 / 17;
    series = series * s + 1.0 / 15;
    series = series * s + 1.0 / 13;
    series = series * s + 1.0 / 11;
    series = series * s + 1.0 / 9;
    series = series * s + 1.0 / 7;
    series = series * s + 1.0 / 5;
    series = series * s + 1.0 / 3;
    return e * 0.6931471805599453 + (2 * f + 2 * f * s * series);
}

void prepare(double w, const double* snr, std::size_t blocks, double* limit, double* offset, double* inverse) {
    for (std::size_t n = 0; n < blocks; n += kWide) {
        const Lanes g = load(snr + n), wg = w * g;
        store(limit + n, wg);
        store(offset + n, w * (log_of(wg) - 1));
        store(inverse + n, g > 0 ? 1 / g : Lanes{});
    }
}

double prices(const double* x, const double* s, double lambda, double nu, double c, std::size_t blocks, double* q) {
    Lanes least = all(lambda);
    for (std::size_t n = 0; n < blocks; n += kWide) {
        const Lanes far = load(x + n) - c, price = lambda - load(s + n) * nu * far * far;
        store(q + n, price);
        least = price < least ? price : least;
    }
    double out = lambda;
    for (std::size_t i = 0; i < kWide; ++i) out = least[i] < out ? least[i] : out;
    return out;
}

double below(const double* a, const double* b, double part, std::size_t blocks) {
    Lanes count{};
    for (std::size_t n = 0; n < blocks; n += kWide) {
        count += load(a + n) > part * load(b + n) ? Lanes{} : all(1);
    }
    return sum(count);
}

// Eight blocks stay in registers while all users pass.
void best(const UserLevels* users, std::size_t count, const double* q, double* log_q, std::size_t blocks,
          const BestUsers& out) {
    for (std::size_t n = 0; n < blocks; n += kWide) {
        const Lanes price = load(q + n), log = log_of(price);
        Lanes top{}, second{}, winner{}, weight{}, inverse{};
        for (std::size_t u = 0; u < count; ++u) {
            const Lanes inverses = load(users[u].inverse + n);
            const Lanes value = load(users[u].offset + n) - users[u].weight * log + price * inverses;
            const Lanes phi = load(users[u].limit + n) > price ? value : Lanes{};
            const Bits better = phi > top;
            const Lanes other = better ? top : phi;
            second = other > second ? other : second;
            winner = better ? all(static_cast<double>(u)) : winner;
            weight = better ? all(users[u].weight) : weight;
            inverse = better ? inverses : inverse;
            top = better ? phi : top;
        }
        const Lanes level = weight / price;
        store(log_q + n, log);
        store(out.top + n, top);
        store(out.second + n, second);
        store(out.winner + n, winner);
        store(out.power + n, level - inverse);
        store(out.bent + n, level / price);
    }
}

LevelSums sums(const double* x, const double* s, double c, const BestUsers& best, std::size_t blocks) {
    Lanes value{}, power{}, told{}, by_nu{}, by_kappa{}, bent{}, nu{}, kappa{}, nu_nu{}, nu_kappa{}, kappa_kappa{};
    for (std::size_t n = 0; n < blocks; n += kWide) {
        const Lanes at = load(x + n), gain = load(s + n), p = load(best.power + n), b = load(best.bent + n);
        const Lanes dn = -gain * (at * at - c * c), dk = 2 * gain * (at - c), bn = b * dn, bk = b * dk;
        value += load(best.top + n);
        power += p;
        told += gain * p;
        by_nu += dn * p;
        by_kappa += dk * p;
        bent += b;
        nu += bn;
        kappa += bk;
        nu_nu += bn * dn;
        nu_kappa += bn * dk;
        kappa_kappa += bk * dk;
    }
    return {sum(value), sum(power), sum(told),  sum(by_nu),    sum(by_kappa),   sum(bent),
            sum(nu),    sum(kappa), sum(nu_nu), sum(nu_kappa), sum(kappa_kappa)};
}

constexpr LevelKernels kLevels{
    .prepare = prepare, .prices = prices, .below = below, .best = best, .sums = sums};

}  // namespace
}  // namespace fairlead::radio
