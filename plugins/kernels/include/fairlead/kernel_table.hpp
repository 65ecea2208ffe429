#pragma once

#include "fairlead/quantized_input.hpp"
#include "fairlead/unified_pages.hpp"
#include "fairlead/views.hpp"

namespace fairlead {

// One ISA's kernels. Each works on a range and knows nothing of threads: whoever calls it splits the work,
// and an output element's order of summation depends neither on the split nor on the batch.
// Vectors of whole numbers in two parts: walk codes (see walk_codes.hpp), and rows (see packed_rows.hpp) with `extra`
// bits that refine each coordinate of those, then `tail_bits` of each trailing coordinate.
struct CodedRows {
    const std::uint8_t* codes;
    std::size_t code_stride;
    std::size_t leading;
    std::uint32_t bits;  // of a code's coordinate: 8 or 4
    std::uint32_t extra;
    const std::uint8_t* rows;
    std::size_t row_stride;
    std::size_t trailing;
    std::uint32_t tail_bits;
};

// Bytes behind the last row that may be read, and numbers that a query takes beside its own in `coded_products`.
inline constexpr std::size_t kCodedSlack = 64, kCodedScratch = 128;

struct KernelTable {
    const char* isa;

    // out[i] = dot(row(rows ? rows[i] : i), x) for i in [begin, end).
    void (*dot_rows)(const Q8View& matrix, const std::int32_t* rows, std::size_t begin, std::size_t end,
                     const float* x, float* out);

    // out[b, r] = dot(row r, x[b]) for r in [begin, end); scratch holds kScratchRows * columns floats.
    void (*multiply_rows)(const Q8View& matrix, std::size_t begin, std::size_t end, const float* x,
                          std::size_t batch, float* out, float* scratch);

    // out[b * out_stride + i] = dot(row i of a float32 matrix, x[b]) for i in [begin, end).
    void (*multiply_floats)(const float* matrix, std::size_t columns, std::size_t begin, std::size_t end,
                            const float* x, std::size_t batch, float* out, std::size_t out_stride);

    // y[c] = sum_i weight[i] * matrix[rows ? rows[i] : i, c] for the columns of groups [begin, end).
    void (*sum_rows)(const Q8View& matrix, const std::int32_t* rows, const float* weight, std::size_t count,
                     std::size_t begin, std::size_t end, float* y);

    // out[b, c] = sum_i weight[b, i] * matrix[i, c] for the columns of groups [begin, end).
    void (*sum_rows_batch)(const Q8View& matrix, const float* weight, std::size_t batch, std::size_t begin,
                           std::size_t end, float* out);

    void (*dequantize)(const Q8View& matrix, std::size_t begin, std::size_t end, float* out);
    // Scales come in already rounded to float16; q = round_half_even(x / scale), 0 where the scale is 0.
    void (*quantize_group)(const float* x, float scale, std::int8_t* q);
    float (*largest_magnitude)(const float* x, std::size_t count);

    // Rounds a vector of activations into place b of the input.
    void (*quantize_input)(const float* x, std::size_t columns, const InputView& out, std::size_t b);
    // out[i] = dot(row(rows ? rows[i] : i), vector 0 of x) for i in [begin, end).
    void (*dot_rows_packed)(const PackedView& matrix, const std::int32_t* rows, std::size_t begin, std::size_t end,
                            const InputView& x, float* out);
    // out[b * out_stride + i] = dot(row(rows ? rows[i] : i), vector b of x) for i in [begin, end).
    void (*multiply_rows_packed)(const PackedView& matrix, const std::int32_t* rows, std::size_t begin,
                                 std::size_t end, const InputView& x, std::size_t batch, float* out,
                                 std::size_t out_stride);
    // y[c] = sum_i weight[i] * matrix[rows ? rows[i] : i, c] for the columns of units [begin, end), in the list's
    // order; with `add` the sum goes on from what is in y. scratch holds (end - begin) * kUnitFloats floats.
    void (*sum_rows_packed)(const PackedView& matrix, const std::int32_t* rows, const float* weight,
                            std::size_t count, std::size_t begin, std::size_t end, bool add, float* y,
                            float* scratch);
    // The same for weight [batch, count] and out [batch, columns]; scratch holds batch * kUnitFloats floats.
    void (*sum_rows_packed_batch)(const PackedView& matrix, const std::int32_t* rows, const float* weight,
                                  std::size_t count, std::size_t batch, std::size_t begin, std::size_t end,
                                  float* out, float* scratch);

    void (*rmsnorm)(const float* x, const float* weight, float epsilon, std::size_t count, float* out);
    void (*layernorm)(const float* x, const float* weight, const float* bias, float epsilon, std::size_t count,
                      float* out);
    void (*rope)(float* heads, std::size_t count, std::size_t head_dim, const float* cosine, const float* sine);
    void (*softmax)(float* x, std::size_t count);
    // Items are (token, head) pairs, numbered token * heads + head; scratch holds the longest length in floats.
    void (*attend)(const AttentionTask& task, std::size_t begin, std::size_t end, float* scratch);
    void (*attend_int8)(const Int8AttentionTask& task, std::size_t begin, std::size_t end, float* scratch);
    // Rounds one key or value of a head to int8; returns its scale.
    float (*quantize_head)(const float* x, std::size_t count, std::int8_t* q);

    // x = gate_function(x), zeroed where its magnitude is not above the threshold.
    void (*gate)(Activation activation, float threshold, float* x, std::size_t count);
    // x *= up_function(up).
    void (*multiply_up)(Activation activation, const float* up, float* x, std::size_t count);
    void (*add)(const float* y, float* x, std::size_t count);

    // Keys or values of single tokens in unified pages, from and to float32 vectors (reading: [count, head_dim]).
    void (*read_vectors)(const TokenPlace* places, std::size_t count, bool values, const PageFormat& format,
                         std::size_t head_dim, float* out);
    void (*write_vectors)(const TokenPlace* places, const float* const* vectors, std::size_t count, bool values,
                          const PageFormat& format, std::size_t head_dim);
    // Attention of a tile over splits [begin, end): into its output, or, where `partial` is given, what split `begin`
    // alone leaves behind: [rows, partial_floats(head_dim)]. scratch holds tile_floats(rows, head_dim) floats.
    void (*attend_tile)(const UnifiedTile& tile, std::size_t begin, std::size_t end, float* scratch, float* partial);
    // Puts the splits [splits, rows, partial_floats] of a tile together, in their order.
    void (*merge_tile)(const UnifiedTile& tile, std::size_t splits, const float* partial, float* scratch);
    std::size_t (*tile_floats)(std::size_t rows, std::size_t head_dim);
    std::size_t (*partial_floats)(std::size_t head_dim);
    // Takes one query's attention into the scores of the tokens of a row.
    void (*update_scores)(const ScoreTask& task);
    // Adds to received [group, received_stride] what tokens [first, end) of the high tier get from the tile's queries
    // other than their own, whose totals are known. scratch holds tile_floats(1, head_dim) floats.
    void (*add_received)(const UnifiedTile& tile, std::size_t first, std::size_t end, float* received,
                         std::size_t received_stride, float* scratch);

    // out[i] = score of the walk code of vertex ids[i] (i itself without ids): its half norm, which lies in the last 4
    // bytes, and the dot product of its other bytes (unsigned) with the query's, which is 0 at the last 4. Returns a bit
    // for each of the (at most 64) scores that is smaller than `below`.
    std::uint64_t (*score_lines)(const std::uint8_t* codes, std::size_t lines, const std::uint32_t* ids,
                                 std::size_t count, const std::int8_t* query, std::int32_t below, std::int32_t* out);
    // The same of codes that hold two coordinates a byte: the query has 64 factors of the low halves of a line, then 64
    // of the high ones.
    std::uint64_t (*score_nibbles)(const std::uint8_t* codes, std::size_t lines, const std::uint32_t* ids,
                                   std::size_t count, const std::int8_t* query, std::int32_t below, std::int32_t* out);
    // out[i] = the squared Euclidean distance of row ids[i] to the query, exact below 2^15 columns.
    void (*byte_distances)(const std::uint8_t* query, const std::uint8_t* rows, std::size_t stride,
                           std::size_t columns, const std::uint32_t* ids, std::size_t count, float* out);
    // The same of rows with two coordinates a byte.
    void (*nibble_distances)(const std::uint8_t* query, const std::uint8_t* rows, std::size_t stride, std::size_t bytes,
                             const std::uint32_t* ids, std::size_t count, float* out);
    // out[i] = the dot product of the query [leading + trailing] and the whole numbers of row ids[i]; values [as many, and
    // kCodedScratch] is scratch.
    void (*coded_products)(const CodedRows& coded, const std::uint32_t* ids, std::size_t count, const float* query,
                           std::int16_t* values, float* out);
};

// The most rows that a tile of multiply_rows holds dequantized.
inline constexpr std::size_t kScratchRows = 4;

const KernelTable& plain_table();
#if defined(__x86_64__)
const KernelTable& avx2_table();
const KernelTable& avx512_table();
const KernelTable& avx512vnni_table();
#endif
#if defined(__aarch64__)
const KernelTable& neon_table();
const KernelTable& neon_dotprod_table();
#endif

}  // namespace fairlead
