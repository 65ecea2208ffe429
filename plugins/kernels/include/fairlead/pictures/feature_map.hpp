#pragma once

#include <cstddef>
#include <cstdint>

namespace fairlead::pictures {

// Channels come in groups of this many; filters are packed for it.
inline constexpr std::size_t kGroup = 16;

// Bytes of a map's numbers: 4 (float), 2 (bfloat16) or 1 (unsigned, of a scale and a zero).
enum class Format : std::uint8_t { floats = 4, halves = 2, bytes = 1 };

// Features of a picture, [height + 2 border, width + 2 border, channels]; the border is zeros. Behind the last row lie
// slack(channels) numbers more, which kernels may read.
struct FeatureMap {
    void* data;
    std::size_t height, width, channels, border;
    Format format;
    // A byte's number is scale * (byte - zero); the border is bytes of the zero. Where there is no scale yet (0), what
    // fills the map finds one.
    float scale = 1;
    std::uint8_t zero = 0;

    std::size_t pitch() const { return (width + 2 * border) * channels; }
    // Of a pixel's first channel, in numbers; places of the border are reached with a larger `out`.
    std::size_t at(std::size_t row, std::size_t column, std::size_t out = 0) const {
        return (row + border - out) * pitch() + (column + border - out) * channels;
    }
};

// Pixels between two that filters are laid on, at most.
inline constexpr std::size_t kMostStride = 3;

// What a block of 32 pixels, three apart, reads beyond the last one, and what fills its last 32 numbers.
inline constexpr std::size_t slack(std::size_t channels) { return 104 * channels + 64; }

// A square convolution of side 1 or 3 whose padding is (side - 1) / 2, as an implicit matrix product: of a kernel's row,
// the side * channels numbers lie side by side in the map, and no copy of patches is made.
struct Convolution {
    FeatureMap source;
    // Packed, in the source's format. Floats [outputs / 16, side, run, 16], run = side * channels; halves
    // [outputs / 16, side, run / 2, 16, 2], run made a multiple of 32 with zeros; of bytes, signed ones
    // [outputs / 16, side, run / 4, 16, 4].
    const void* filters;
    const float* bias;  // [outputs]
    std::size_t side, stride, height, width, outputs;

    // Result [height, width], the source's sides by the stride, rounded up; each pixel repeated growth * growth times, plus `skip`: kept, rectified, or both.
    std::size_t growth = 1;
    const FeatureMap* skip = nullptr;
    const FeatureMap* kept = nullptr;
    const FeatureMap* rectified = nullptr;
    // Gets each row's sums of what is rectified, without `skip` and growth, and then of its squares: [height, 2 outputs],
    // nought before.
    float* noted = nullptr;

    // In place of those: channels (dy, dx, colour), the first 12, are the colours of 2 x 2 pixels; plus `under`.
    const float* under = nullptr;  // [2 height, 2 width, 3], or the same as `drawn`; none: nothing
    float* drawn = nullptr;        // [2 height, 2 width, 3]

    // Of bytes: what sums are worth, [outputs]; the bias has what the source's zero adds to them.
    const float* scales = nullptr;

    std::size_t run() const { return side * source.channels; }
};

// What a network sees of a picture: colours m x + o plus share * lent of its details, twice that less 1, and share of
// the details' mean, of 2 x 2 pixels: 16 channels (dy, dx, colour or detail).
struct Unshuffle {
    const float* picture;  // [2 height, 2 width, 3]
    const float* details;  // [2 height, 2 width, 3]; none: nothing
    const float* mapping;  // [3, 4]
    float share, lent;
    float* richer;  // [2 height, 2 width, 3], gets the colours; or none
    FeatureMap target;
};

// The slope of a loss at rectified features: scale * features + shift, plus what comes from the layer above, plus weight
// * (features - other); nothing where the rectifier let nothing through. All maps are of one shape, or what is above is
// half as high and wide, and each of its places 2 x 2.
struct Slope {
    FeatureMap features;
    const float* scale;  // [channels]
    const float* shift;  // [channels]
    const FeatureMap* above = nullptr;
    const FeatureMap* other = nullptr;
    float weight = 0;
    FeatureMap target = {};
};

// Filters [outputs, side, side, channels] as convolutions take them, of outputs that are made a multiple of 16.
struct Packing {
    const float* weights;
    std::size_t outputs, side, channels;
    Format format;
    void* filters;
    float* scales = nullptr;  // of bytes: what a filter's whole numbers are worth, and their sum, for all outputs
    float* sums = nullptr;

    std::size_t run() const { return format == Format::halves ? (side * channels + 31) / 32 * 32 : side * channels; }
    std::size_t filled() const { return (outputs + kGroup - 1) / kGroup * kGroup; }
};

struct PixelKernels;
struct StageKernels;

// One ISA's kernels of feature maps; each does rows [first, last) of the result.
struct MapKernels {
    void (*convolve)(const Convolution& work, std::size_t first, std::size_t last);
    void (*unshuffle)(const Unshuffle& work, std::size_t first, std::size_t last);
    // Sums of channels [C] and of their products [C, C] (the upper triangle's groups) over every step-th pixel of rows.
    void (*sums)(const FeatureMap& map, std::size_t step, std::size_t first, std::size_t last, double* sums);
    // values [height, width, channels] -> the map, negative ones as 0 where `rectify`.
    void (*store)(const float* values, const FeatureMap& map, bool rectify, std::size_t first, std::size_t last);
    // [pixels, 3] under a map of colours [3, 4], clipped to [0, 1], in place.
    void (*recolour)(float* pixels, const float* mapping, std::size_t first, std::size_t last);
    // Means of 2 x 2 places.
    void (*pool)(const FeatureMap& map, const FeatureMap& target, std::size_t first, std::size_t last);
    // Sums of channels [C], then of their squares [C].
    void (*spread)(const FeatureMap& map, std::size_t first, std::size_t last, double* sums);
    void (*slope)(const Slope& work, std::size_t first, std::size_t last);
    // The largest of numbers without their signs.
    float (*largest)(const float* numbers, std::size_t count);
    // The product of two matrices [side, side], side a multiple of 8; whether it is known to be symmetric.
    void (*multiply)(const double* left, const double* right, std::size_t side, bool symmetric, double* target);
    // A symmetric matrix [size, size], whose rows lie `side` apart, becomes its eigenvectors, one a row.
    void (*eigenvectors)(double* matrix, std::size_t side, std::size_t size, double* values);
    // Rows [rows, size] times a matrix [size, columns], columns a multiple of 16.
    void (*products)(const float* left, std::size_t rows, const float* right, std::size_t size, std::size_t columns,
                     float* target);
    const StageKernels* stage;
    const PixelKernels* pixels;
};

// Those in use.
const MapKernels& map_kernels();

const MapKernels& plain_maps();
#if defined(__x86_64__)
const MapKernels& avx2_maps();
const MapKernels& avx512_maps();
// Convolutions, and sums, of halves alone.
void convolve_avx512bf16(const Convolution& work, std::size_t first, std::size_t last);
void sum_rows_avx512bf16(const FeatureMap& map, std::size_t step, std::size_t first, std::size_t last, double* sums);
// Convolutions of bytes alone.
void convolve_avx512vnni(const Convolution& work, std::size_t first, std::size_t last);
void convolve_amx(const Convolution& work, std::size_t first, std::size_t last);
#endif
#if defined(__aarch64__)
const MapKernels& neon_maps();
#endif

// What convolves halves here, best first: "amx", "avx512bf16", and always "floats", which makes them floats.
const char* halves_by();

// What convolves bytes here: "avx512vnni", or "words", which makes them whole numbers of 32 bits one by one.
const char* bytes_by();

// Scales of bytes that are found are the largest of a few rows' numbers times this, by what bytes hold; the few numbers
// that are larger become the last that a byte holds.
inline constexpr float kReach = 1.5f;

// The work of all threads; results do not depend on their number. What fills a map of bytes gives its scale.
float convolve(const Convolution& work);
// The same, and the mean and the variance of each channel of what is rectified, before it is rounded.
float convolve(const Convolution& work, float* mean, float* variance);
float unshuffle(const Unshuffle& work);
void moments(const FeatureMap& map, std::size_t step, float* mean, float* covariance);
float store(const float* values, const FeatureMap& map, bool rectify);
void pack(const Packing& work);
void recolour(float* pixels, const float* mapping, std::size_t count);
float pool(const FeatureMap& map, const FeatureMap& target);
void spread(const FeatureMap& map, float* mean, float* variance);
float slope(const Slope& work);

}  // namespace fairlead::pictures
