"""OFDM waveforms: QAM symbols on a grid, samples with cyclic prefixes, and back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import IsacError
from .numerology import Numerology

Complex = NDArray[np.complex128]
ORDERS = (4, 16, 64, 256, 1024)


@lru_cache(maxsize=8)
def constellation(order: int) -> Complex:
    """Square QAM of unit mean power, Gray-mapped (3GPP TS 38.211, 5.1): complex [order], read-only.

    The bits of an index, first one highest, alternate between the real and the imaginary part.

    Raises:
        IsacError: ``order`` is not 4, 16, 64, 256 or 1024.
    """
    if order not in ORDERS:
        raise IsacError(f"order = {order!r}; accepted: {', '.join(map(str, ORDERS))}")
    bits = bits_of(order)
    shifts = np.arange(bits - 1, -1, -1)
    signs = 1 - 2 * (np.arange(order)[:, None] >> shifts & 1)
    points = _amplitudes(signs[:, 0::2]) + 1j * _amplitudes(signs[:, 1::2])
    points /= np.sqrt(2 * (order - 1) / 3)
    points.flags.writeable = False
    return points


def bits_of(order: int) -> int:
    """Bits that a QAM symbol carries."""
    return int(order).bit_length() - 1


def modulate(bits: ArrayLike, order: int) -> Complex:
    """Map bits [..., symbols * bits of a symbol] to complex [..., symbols].

    Raises:
        IsacError: the bits are not 0 and 1, or no whole number of symbols.
    """
    bits, each = np.asarray(bits), bits_of(order)
    points = constellation(order)
    if bits.shape[-1] % each or not np.isin(bits, (0, 1)).all():
        raise IsacError(f"bits [..., {bits.shape[-1]}]; accepted: 0 and 1, a multiple of {each} for order {order}")
    grouped = bits.astype(np.int64).reshape(*bits.shape[:-1], -1, each)
    return points[grouped @ (1 << np.arange(each - 1, -1, -1))]


def demodulate(symbols: ArrayLike, order: int) -> NDArray[np.uint8]:
    """Return the bits of the nearest points, [..., symbols * bits of a symbol]."""
    symbols = np.asarray(symbols, np.complex128)
    each, points = bits_of(order), constellation(order)
    levels = np.unique(points.real)
    edges = (levels[1:] + levels[:-1]) / 2
    by_level = np.empty((len(levels), len(levels)), np.int64)
    by_level[np.searchsorted(edges, points.real), np.searchsorted(edges, points.imag)] = np.arange(order)
    indices = by_level[np.searchsorted(edges, symbols.real), np.searchsorted(edges, symbols.imag)]
    bits = indices[..., None] >> np.arange(each - 1, -1, -1) & 1
    return bits.astype(np.uint8).reshape(*symbols.shape[:-1], -1)


def random_grid(numerology: Numerology, order: int, rng: np.random.Generator) -> Complex:
    """Unit-power QAM symbols drawn alike; complex [N, M]."""
    return constellation(order)[rng.integers(0, order, (numerology.subcarriers, numerology.symbols))]


def sampled_size(numerology: Numerology) -> int:
    """Samples of a symbol without its prefix: the least that hold all subcarriers and a whole number of prefix samples.

    Raises:
        IsacError: N and the powers of two above it give no whole prefix.
    """
    sizes = [numerology.subcarriers, *(1 << numerology.subcarriers.bit_length() + more for more in range(5))]
    for size in sizes:
        prefix = numerology.cyclic_prefix_s * numerology.subcarrier_spacing_hz * size
        if abs(prefix - round(prefix)) < 1e-6:
            return size
    raise IsacError(
        f"numerology.cyclic_prefix_s = {numerology.cyclic_prefix_s!r}; accepted: whole samples at "
        f"{numerology.subcarrier_spacing_hz:g} Hz times {' or '.join(map(str, sizes))}"
    )


def sample_rate_hz(numerology: Numerology) -> float:
    """Of :func:`to_samples`."""
    return sampled_size(numerology) * numerology.subcarrier_spacing_hz


def prefix_samples(numerology: Numerology) -> int:
    """Samples of a cyclic prefix."""
    return round(numerology.cyclic_prefix_s * sample_rate_hz(numerology))


def to_samples(grid: ArrayLike, numerology: Numerology) -> Complex:
    """OFDM modulation by a unitary inverse FFT, with cyclic prefixes (Braun 2014, 2.2).

    Args:
        grid: complex [N, M].
        numerology: of the grid.

    Returns:
        complex [M * (size + prefix)] at :func:`sample_rate_hz`.
    """
    size, prefix = sampled_size(numerology), prefix_samples(numerology)
    spectrum = np.zeros((numerology.symbols, size), np.complex128)
    spectrum[:, _bins(numerology, size)] = checked_grid(grid, numerology).T
    useful = np.fft.ifft(spectrum, norm="ortho")
    return np.concatenate((useful[:, size - prefix :], useful), axis=1).ravel()


def to_grid(samples: ArrayLike, numerology: Numerology) -> Complex:
    """OFDM demodulation: drop the prefixes and transform; the inverse of :func:`to_samples`; complex [N, M].

    Raises:
        IsacError: there are not as many samples as the frame has.
    """
    samples = np.asarray(samples, np.complex128)
    size, prefix = sampled_size(numerology), prefix_samples(numerology)
    count = numerology.symbols * (size + prefix)
    if samples.shape != (count,):
        raise IsacError(
            f"samples of shape {samples.shape}; accepted: [{count}], a frame at {sample_rate_hz(numerology):g} Hz"
        )
    useful = samples.reshape(numerology.symbols, -1)[:, prefix:]
    return np.ascontiguousarray(np.fft.fft(useful, norm="ortho")[:, _bins(numerology, size)].T)


def checked_grid(grid: ArrayLike, numerology: Numerology, name: str = "grid") -> Complex:
    """Return ``grid`` as complex [N, M].

    Raises:
        IsacError: it has another shape.
    """
    checked = np.asarray(grid, np.complex128)
    expected = (numerology.subcarriers, numerology.symbols)
    if checked.shape != expected:
        raise IsacError(f"{name} of shape {checked.shape}; accepted: {list(expected)} (subcarriers, symbols)")
    return checked


def _amplitudes(signs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Gray-coded odd amplitudes of a part: ``s1 (2^(k-1) - s2 (2^(k-2) - ...))``."""
    depth = signs.shape[1]
    value = np.ones(len(signs))
    for index in range(depth - 1, 0, -1):
        value = 2 ** (depth - index) - signs[:, index] * value
    return signs[:, 0] * value


def _bins(numerology: Numerology, size: int) -> NDArray[np.int64]:
    return (np.arange(numerology.subcarriers) - numerology.subcarriers // 2) % size
