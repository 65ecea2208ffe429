#pragma once

#include <cstddef>

namespace fairlead::radio {

// A complex number whose products are four multiplications: std::complex must ask for infinities in each.
struct Complex {
    double re = 0, im = 0;
};

inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
inline Complex operator*(double a, Complex b) { return {a * b.re, a * b.im}; }
inline Complex conj(Complex a) { return {a.re, -a.im}; }
inline double norm(Complex a) { return a.re * a.re + a.im * a.im; }

// a^H b
inline Complex inner(const Complex* a, const Complex* b, std::size_t size) {
    Complex sum;
    for (std::size_t i = 0; i < size; ++i) {
        sum.re += a[i].re * b[i].re + a[i].im * b[i].im;
        sum.im += a[i].re * b[i].im - a[i].im * b[i].re;
    }
    return sum;
}

inline double norm(const Complex* a, std::size_t size) {
    double sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += norm(a[i]);
    return sum;
}

// y += a x
inline void add(Complex* y, Complex a, const Complex* x, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) y[i] = y[i] + a * x[i];
}

}  // namespace fairlead::radio
