#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>

#include "arrays.hpp"
#include "bindings.hpp"
#include "fairlead/dispatch.hpp"
#include "fairlead/half.hpp"
#include "fairlead/unified_operators.hpp"

namespace fairlead::python {
namespace {

constexpr std::size_t kMostHeadDim = 1024;

// The layouts of both tiers' pages, checked once.
struct UnifiedLayout {
    std::size_t head_dim = 0;
    std::size_t page_bytes = 0;
    PageFormat tier[2];
};

bool known_bits(std::int64_t bits) { return bits == 2 || bits == 4 || bits == 8 || bits == 16 || bits == 32; }

PageFormat format_of(const std::vector<std::int64_t>& numbers, std::size_t head_dim, std::size_t page_bytes) {
    require(numbers.size() == 9, "layout: a tier has 9 numbers");
    require(known_bits(numbers[0]) && known_bits(numbers[1]), "layout: bits must be 2, 4, 8, 16 or 32");
    const auto limit = static_cast<std::int64_t>(page_bytes), dim = static_cast<std::int64_t>(head_dim);
    const std::int64_t tokens = numbers[2];
    require(tokens >= 1 && tokens <= limit, "layout: a page must hold a token");
    const auto segment = [&](std::int64_t start, std::int64_t bytes, std::int64_t alignment) {
        require(start >= 0 && start % alignment == 0 && start <= limit && bytes * tokens <= limit - start,
                "layout: a segment does not lie within the page");
        return static_cast<std::size_t>(start);
    };
    PageFormat format;
    format.key_bits = static_cast<int>(numbers[0]);
    format.value_bits = static_cast<int>(numbers[1]);
    format.tokens = static_cast<std::size_t>(tokens);
    format.keys = segment(numbers[3], numbers[0] * dim / 8, 4);
    format.key_meta = segment(numbers[4], numbers[0] < 16 ? 4 : 0, 4);
    format.values = segment(numbers[5], numbers[1] * dim / 8, 4);
    format.value_meta = segment(numbers[6], numbers[1] < 16 ? 4 : 0, 4);
    format.scores = segment(numbers[7], 2, 4);
    format.positions = segment(numbers[8], 4, 4);
    return format;
}

void make_layout(UnifiedLayout* made, std::size_t head_dim, std::size_t page_bytes,
                 const std::vector<std::int64_t>& high, const std::vector<std::int64_t>& low) {
    require(head_dim >= 8 && head_dim % 8 == 0 && head_dim <= kMostHeadDim,
            "head_dim: must be a multiple of 8 up to 1024");
    require(page_bytes > 0 && page_bytes % 16 == 0 && page_bytes <= (1U << 30), "page_bytes: must be a multiple of 16");
    new (made) UnifiedLayout{head_dim, page_bytes,
                             {format_of(high, head_dim, page_bytes), format_of(low, head_dim, page_bytes)}};
}

using Bytes = Array<std::uint8_t, 2>;
using Ints = Array<const std::int32_t, 1>;
using IntRows = Array<const std::int32_t, 2>;

// Pages and tables of a call, and what has to hold of whatever is looked up in them.
struct Stored {
    UnifiedView view;
    std::size_t pages;
    std::size_t rows;

    Stored(const UnifiedLayout& layout, const Bytes& data, const IntRows& tables)
        : pages(data.shape(0)), rows(tables.shape(0)) {
        require(data.shape(1) == layout.page_bytes, "pages: must be [pages, " + std::to_string(layout.page_bytes) + "]");
        require(reinterpret_cast<std::uintptr_t>(data.data()) % 4 == 0, "pages: must be aligned to 4 bytes");
        view = {data.data(), layout.page_bytes, layout.head_dim, {layout.tier[0], layout.tier[1]},
                tables.data(), tables.shape(1)};
    }

    void check_row(std::int32_t row, const char* name) const {
        if (row < 0 || static_cast<std::size_t>(row) >= rows) {
            throw nb::index_error((std::string(name) + ": row " + std::to_string(row) + " is outside 0.." +
                                   std::to_string(static_cast<std::int64_t>(rows) - 1))
                                      .c_str());
        }
    }

    // Pages [0, needed) of one side of a table row must exist.
    void check_pages(std::int32_t row, int tier, std::size_t needed) const {
        const std::int32_t* table = view.tables + static_cast<std::size_t>(row) * view.width;
        const std::int32_t* first = tier == kLow ? table + (view.width - needed) : table;
        for (std::size_t i = 0; i < needed; ++i) {
            if (first[i] < 0 || static_cast<std::size_t>(first[i]) >= pages) {
                throw nb::index_error(("tables[" + std::to_string(row) + "]: no page " + std::to_string(first[i])).c_str());
            }
        }
    }

    void check_counts(std::int32_t row, std::int64_t high, std::int64_t low) const {
        std::size_t needed[2];
        for (int tier : {kHigh, kLow}) {
            const std::int64_t count = tier == kHigh ? high : low;
            const auto tokens = static_cast<std::int64_t>(view.tier[tier].tokens);
            if (count < 0) throw nb::index_error(("counts: row " + std::to_string(row) + " has fewer than no tokens").c_str());
            needed[tier] = static_cast<std::size_t>((count + tokens - 1) / tokens);
        }
        if (needed[kHigh] + needed[kLow] > view.width) {
            throw nb::index_error(("counts: row " + std::to_string(row) + " has tokens for " +
                                   std::to_string(needed[kHigh] + needed[kLow]) + " pages and room for " +
                                   std::to_string(view.width))
                                      .c_str());
        }
        check_pages(row, kHigh, needed[kHigh]);
        check_pages(row, kLow, needed[kLow]);
    }

    void check_slot(std::int32_t row, int tier, std::int32_t slot, const char* name) const {
        check_row(row, "rows");
        const std::size_t place = static_cast<std::size_t>(slot) / view.tier[tier].tokens;
        if (slot < 0 || place >= view.width) {
            throw nb::index_error((std::string(name) + ": no slot " + std::to_string(slot) + " in rows of " +
                                   std::to_string(view.width) + " pages")
                                      .c_str());
        }
        const std::size_t column = tier == kLow ? view.width - 1 - place : place;
        const std::int32_t page = view.tables[static_cast<std::size_t>(row) * view.width + column];
        if (page < 0 || static_cast<std::size_t>(page) >= pages) {
            throw nb::index_error(("tables[" + std::to_string(row) + "]: no page " + std::to_string(page)).c_str());
        }
    }
};

void check_tier(int tier) { require(tier == kHigh || tier == kLow, "tier: must be 0 (high) or 1 (low)"); }

// Quantized formats have no code for what is not finite.
void check_finite(const Array<const float, 3>& vectors, const Array<const std::int32_t, 2>& slots, const char* name) {
    const std::size_t dim = vectors.shape(2);
    for (std::size_t i = 0; i < slots.shape(0) * slots.shape(1); ++i) {
        if (slots.data()[i] < 0) continue;
        std::uint32_t wrong = 0;
        for (std::size_t d = 0; d < dim; ++d) {
            std::uint32_t bits;
            std::memcpy(&bits, vectors.data() + i * dim + d, sizeof bits);
            wrong |= (bits & 0x7F800000U) == 0x7F800000U;
        }
        require(wrong == 0, std::string(name) + ": an element of vector " + std::to_string(i) + " is not finite");
    }
}

void write_into(const UnifiedLayout& layout, Bytes pages, int tier, IntRows tables, IntRows rows, IntRows slots,
                Array<const float, 3> keys, Array<const float, 3> values, Array<const float, 2> scores, Ints positions) {
    check_tier(tier);
    const Stored stored(layout, pages, tables);
    const std::size_t tokens = keys.shape(0), heads = keys.shape(1);
    require(keys.shape(2) == layout.head_dim, "keys: must be [tokens, kv_heads, " + std::to_string(layout.head_dim) + "]");
    for (std::size_t i = 0; i < 3; ++i) require(values.shape(i) == keys.shape(i), "values: must have the shape of keys");
    const auto as_heads = [&](const auto& array) { return array.shape(0) == tokens && array.shape(1) == heads; };
    require(as_heads(rows), "rows: must be [tokens, kv_heads] as keys");
    require(as_heads(slots), "slots: must be [tokens, kv_heads] as keys");
    require(as_heads(scores), "scores: must be [tokens, kv_heads] as keys");
    require(positions.shape(0) == tokens, "positions: must be [tokens] as keys");
    const WriteBatch batch{stored.view,  tier,          tokens,        heads,         rows.data(),
                           slots.data(), keys.data(), values.data(), scores.data(), positions.data()};
    const nb::gil_scoped_release released;
    for (std::size_t i = 0; i < tokens * heads; ++i) {
        if (slots.data()[i] >= 0) stored.check_slot(rows.data()[i], tier, slots.data()[i], "slots");
    }
    if (layout.tier[tier].key_bits < 16) check_finite(keys, slots, "keys");
    if (layout.tier[tier].value_bits < 16) check_finite(values, slots, "values");
    write(kernels_in_use(), batch);
}

void gather_into(const UnifiedLayout& layout, Bytes pages, int tier, IntRows tables, Ints rows, Ints slots,
                 Array<float, 2> keys, Array<float, 2> values, nb::ndarray<nb::ndim<1>, nb::c_contig> scores,
                 Array<std::int32_t, 1> positions) {
    check_tier(tier);
    const Stored stored(layout, pages, tables);
    const std::size_t count = rows.shape(0);
    require(slots.shape(0) == count, "slots: must be [tokens] as rows");
    require(keys.shape(0) == count && keys.shape(1) == layout.head_dim && values.shape(0) == count &&
                values.shape(1) == layout.head_dim && scores.shape(0) == count && scores.itemsize() == 2 &&
                positions.shape(0) == count,
            "keys, values, scores, positions: must have room for the tokens");
    const nb::gil_scoped_release released;
    for (std::size_t i = 0; i < count; ++i) stored.check_slot(rows.data()[i], tier, slots.data()[i], "slots");
    gather(kernels_in_use(), stored.view, tier, rows.data(), slots.data(), count, keys.data(), values.data(),
           static_cast<std::uint16_t*>(scores.data()), positions.data());
}

void copy_slots_into(const UnifiedLayout& layout, Bytes pages, int tier, IntRows tables, Ints rows, Ints sources,
                     Ints targets) {
    check_tier(tier);
    const Stored stored(layout, pages, tables);
    const std::size_t count = rows.shape(0);
    require(sources.shape(0) == count && targets.shape(0) == count, "sources, targets: must be [copies] as rows");
    const nb::gil_scoped_release released;
    for (std::size_t i = 0; i < count; ++i) {
        if (sources.data()[i] < 0 || targets.data()[i] < 0) continue;
        stored.check_slot(rows.data()[i], tier, sources.data()[i], "sources");
        stored.check_slot(rows.data()[i], tier, targets.data()[i], "targets");
    }
    copy_slots(stored.view, tier, rows.data(), sources.data(), targets.data(), count);
}

void bookkeeping_into(const UnifiedLayout& layout, Bytes pages, int tier, IntRows tables, Ints rows, IntRows counts,
                      Array<float, 2> scores, Array<std::int32_t, 2> positions, Array<std::int32_t, 2> page) {
    check_tier(tier);
    const Stored stored(layout, pages, tables);
    const std::size_t count = rows.shape(0), longest = scores.shape(1);
    require(counts.shape(0) == count && counts.shape(1) == 2, "counts: must be [rows, 2] of these rows");
    const auto fits = [&](const auto& array) { return array.shape(0) == count && array.shape(1) == longest; };
    require(fits(scores) && fits(positions) && fits(page), "scores, positions, page: must be [rows, longest]");
    const nb::gil_scoped_release released;
    for (std::size_t r = 0; r < count; ++r) {
        const std::int32_t* both = counts.data() + 2 * r;
        stored.check_row(rows.data()[r], "rows");
        stored.check_counts(rows.data()[r], tier == kHigh ? both[kHigh] : 0, tier == kLow ? both[kLow] : 0);
        if (static_cast<std::size_t>(both[tier]) > longest) throw nb::index_error("counts: a row is longer than the longest");
    }
    bookkeeping(stored.view, tier, rows.data(), counts.data(), count, longest, scores.data(), positions.data(),
                page.data());
}

void copy_pages_into(Bytes pages, Ints sources, Ints targets) {
    require(sources.shape(0) == targets.shape(0), "targets: must be [copies] as sources");
    check_indices(sources, pages.shape(0), "sources");
    check_indices(targets, pages.shape(0), "targets");
    const std::size_t bytes = pages.shape(1);
    const nb::gil_scoped_release released;
    for (std::size_t i = 0; i < sources.shape(0); ++i) {
        std::memmove(pages.data() + static_cast<std::size_t>(targets.data()[i]) * bytes,
                     pages.data() + static_cast<std::size_t>(sources.data()[i]) * bytes, bytes);
    }
}

struct Queries {
    AttentionBatch batch;
    std::vector<std::int32_t> one_each;

    Queries(const Stored& stored, const Array<const float, 3>& queries, const std::optional<Ints>& starts,
            const IntRows& rows, float scale, std::int32_t window, const Array<float, 3>& out,
            const Array<float, 2>& total) {
        batch.sequences = rows.shape(0);
        batch.heads = queries.shape(1);
        batch.kv_heads = rows.shape(1);
        require(queries.shape(2) == stored.view.head_dim,
                "queries: must be [queries, heads, " + std::to_string(stored.view.head_dim) + "]");
        require(batch.kv_heads > 0 && batch.heads > 0 && batch.heads % batch.kv_heads == 0,
                "queries: heads must be a multiple of the KV heads of rows");
        for (std::size_t i = 0; i < 3; ++i) require(out.shape(i) == queries.shape(i), "out: must have the shape of queries");
        require(total.shape(0) == queries.shape(0) && total.shape(1) == batch.heads, "total: must be [queries, heads]");
        require(window >= 0, "window: must be at least 1");
        if (starts) {
            require(starts->shape(0) == batch.sequences + 1, "starts: must be [sequences + 1]");
            batch.starts = starts->data();
        } else {
            require(queries.shape(0) == batch.sequences, "queries: must be one a sequence without starts");
            for (std::size_t i = 0; i <= batch.sequences; ++i) one_each.push_back(static_cast<std::int32_t>(i));
            batch.starts = one_each.data();
        }
        require(batch.starts[0] == 0 && static_cast<std::size_t>(batch.starts[batch.sequences]) == queries.shape(0),
                "starts: must begin with 0 and end with the number of queries");
        for (std::size_t s = 0; s < batch.sequences; ++s) {
            require(batch.starts[s] <= batch.starts[s + 1], "starts: must not fall");
        }
        batch.pages = stored.view;
        batch.queries = queries.data();
        batch.out = out.data();
        batch.total = total.data();
        batch.rows = rows.data();
        batch.scale = scale;
        batch.window = window;
    }

    template <class F>
    void for_each_row(const F& f) const {
        for (std::size_t s = 0; s < batch.sequences; ++s) {
            for (std::size_t h = 0; h < batch.kv_heads; ++h) f(s, batch.rows[s * batch.kv_heads + h]);
        }
    }
};

void attend_into(const UnifiedLayout& layout, Array<const float, 3> queries, Bytes pages, IntRows tables, IntRows rows,
                 IntRows counts, float scale, std::optional<Ints> starts, std::int32_t window,
                 std::optional<Ints> positions, std::optional<Ints> now, std::optional<Ints> holders,
                 Array<float, 3> out, Array<float, 2> total) {
    const Stored stored(layout, pages, tables);
    Queries asked(stored, queries, starts, rows, scale, window, out, total);
    require(counts.shape(0) == stored.rows && counts.shape(1) == 2, "counts: must be [rows, 2] as tables");
    require(window == 0 || positions.has_value(), "positions: needed with a window");
    require(!positions || positions->shape(0) == queries.shape(0), "positions: must be [queries]");
    require(!now || (!starts && window == 0), "now: scores take one query a sequence in, without starts and window");
    require(!now || now->shape(0) == rows.shape(0), "now: must be [sequences]");
    require(!holders || holders->shape(0) == stored.pages, "holders: must be [pages]");
    asked.batch.counts = counts.data();
    if (positions) asked.batch.positions = positions->data();
    if (now) asked.batch.now = now->data();
    if (holders) asked.batch.holders = holders->data();
    const nb::gil_scoped_release released;
    asked.for_each_row([&](std::size_t, std::int32_t row) {
        stored.check_row(row, "rows");
        stored.check_counts(row, counts.data()[2 * row], counts.data()[2 * row + 1]);
    });
    attend(kernels_in_use(), asked.batch);
}

using Received = std::vector<std::optional<Array<float, 2>>>;

void attend_chunks_into(const UnifiedLayout& layout, Array<const float, 3> queries, Ints starts, Ints before,
                        Bytes pages, IntRows tables, IntRows rows, float scale, std::int32_t window,
                        const std::optional<Received>& received, Array<float, 3> out, Array<float, 2> total) {
    const Stored stored(layout, pages, tables);
    Queries asked(stored, queries, starts, rows, scale, window, out, total);
    AttentionBatch& batch = asked.batch;
    require(before.shape(0) == batch.sequences, "stored: must be [sequences]");
    batch.counts = before.data();
    batch.causal = true;
    std::vector<float*> into(batch.sequences, nullptr);
    require(!received || received->size() == batch.sequences, "received: must be one array or None a sequence");
    for (std::size_t s = 0; s < batch.sequences; ++s) {
        const std::int64_t length = std::int64_t{before.data()[s]} + batch.starts[s + 1] - batch.starts[s];
        if (before.data()[s] < 0) throw nb::index_error("stored: must be at least 0");
        if (!received || !(*received)[s]) continue;
        const Array<float, 2>& one = *(*received)[s];
        require(one.shape(0) == batch.heads && static_cast<std::int64_t>(one.shape(1)) == length,
                "received[" + std::to_string(s) + "]: must be [heads, stored + chunk] = [" +
                    std::to_string(batch.heads) + ", " + std::to_string(length) + "]");
        into[s] = one.data();
    }
    const nb::gil_scoped_release released;
    asked.for_each_row([&](std::size_t s, std::int32_t row) {
        stored.check_row(row, "rows");
        const std::int32_t chunk = batch.starts[s + 1] - batch.starts[s];
        if (chunk > 0) stored.check_counts(row, std::int64_t{before.data()[s]} + chunk, 0);
    });
    attend(kernels_in_use(), batch);
    if (received) add_received(kernels_in_use(), batch, into);
}

}  // namespace

void bind_unified(nb::module_& module) {
    nb::class_<UnifiedLayout>(module, "UnifiedLayout")
        .def("__init__", &make_layout, nb::arg("head_dim"), nb::arg("page_bytes"), nb::arg("high"), nb::arg("low"));
    module.def("unified_write", &write_into, nb::arg(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert());
    module.def("unified_gather", &gather_into, nb::arg(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert());
    module.def("unified_copy_slots", &copy_slots_into, nb::arg(), nb::arg().noconvert(), nb::arg(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("unified_bookkeeping", &bookkeeping_into, nb::arg(), nb::arg().noconvert(), nb::arg(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert());
    module.def("unified_copy_pages", &copy_pages_into, nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert());
    module.def("unified_attend", &attend_into, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(),
               nb::arg().noconvert().none(), nb::arg(), nb::arg().noconvert().none(), nb::arg().noconvert().none(),
               nb::arg().noconvert().none(), nb::arg().noconvert(), nb::arg().noconvert());
    module.def("unified_attend_chunks", &attend_chunks_into, nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(),
               nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg(),
               nb::arg(), nb::arg().noconvert().none(), nb::arg().noconvert(), nb::arg().noconvert());
}

}  // namespace fairlead::python
