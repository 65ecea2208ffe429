// Compares every available ISA with the plain kernels, without Python: for cross-built targets and emulators.
#include <cmath>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fairlead/dispatch.hpp"
#include "fairlead/feed_forward.hpp"
#include "fairlead/half.hpp"
#include "fairlead/mixture_feed_forward.hpp"
#include "fairlead/operators.hpp"
#include "fairlead/packed_feed_forward.hpp"
#include "fairlead/packed_operators.hpp"
#include "fairlead/thread_pool.hpp"
#include "fairlead/unified_operators.hpp"
#include "selftest_radio.hpp"
#include "selftest_vectors.hpp"

namespace {

using fairlead::KernelTable;

struct Matrix {
    std::vector<std::int8_t> q;
    std::vector<std::uint16_t> scale;
    fairlead::Q8View view;
};

std::mt19937 generator(1);

std::vector<float> normal(std::size_t count) {
    std::normal_distribution<float> distribution;
    std::vector<float> values(count);
    for (float& value : values) value = distribution(generator);
    return values;
}

Matrix matrix(std::size_t rows, std::size_t columns) {
    const std::vector<float> values = normal(rows * columns);
    Matrix m{std::vector<std::int8_t>(rows * columns), std::vector<std::uint16_t>(rows * columns / 32), {}};
    fairlead::quantize(fairlead::plain_table(), values.data(), rows, columns, m.q.data(), m.scale.data());
    m.view = {m.q.data(), m.scale.data(), rows, columns};
    return m;
}

int failures = 0;

void expect(bool holds, const std::string& isa, const char* what) {
    std::printf("%-4s %-8s %s\n", holds ? "ok" : "FAIL", isa.c_str(), what);
    failures += holds ? 0 : 1;
}

bool near(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(std::fabs(a[i] - b[i]) <= tolerance * (1.0F + std::fabs(b[i])))) return false;
    }
    return a.size() == b.size();
}

std::vector<float> product(const KernelTable& k, const Matrix& m, const std::vector<float>& x, std::size_t batch) {
    std::vector<float> out(batch * m.view.rows);
    fairlead::multiply(k, m.view, x.data(), batch, out.data());
    return out;
}

void check_products(const KernelTable& k, const Matrix& m) {
    const std::size_t batch = 7;
    const std::vector<float> x = normal(batch * m.view.columns);
    const std::vector<float> whole = product(k, m, x, batch);
    expect(near(whole, product(fairlead::plain_table(), m, x, batch), 1e-4F), k.isa, "products equal the plain ones");
    std::vector<float> rows;
    for (std::size_t b = 0; b < batch; ++b) {
        const auto first = x.begin() + static_cast<std::ptrdiff_t>(b * m.view.columns);
        const std::vector<float> one(first, first + static_cast<std::ptrdiff_t>(m.view.columns));
        const std::vector<float> out = product(k, m, one, 1);
        rows.insert(rows.end(), out.begin(), out.end());
    }
    expect(rows == whole, k.isa, "a batch has the bits of its rows");
}

std::vector<float> feed(const KernelTable& k, const fairlead::FeedForwardView& layer, const std::vector<float>& x,
                        bool batch) {
    fairlead::FeedForwardScratch scratch;
    std::vector<float> y(layer.down_t.columns);
    if (batch) {
        fairlead::feed_forward_batch(k, layer, x.data(), 1, scratch, y.data(), nullptr);
    } else {
        fairlead::feed_forward(k, layer, x.data(), nullptr, 0, scratch, y.data());
    }
    return y;
}

void check_feed_forward(const KernelTable& k, fairlead::Activation activation, const char* what) {
    const Matrix gate = matrix(333, 96), up = matrix(333, 96), down = matrix(333, 160);
    const fairlead::FeedForwardView layer{gate.view, up.view, down.view, activation, 0.0F};
    std::vector<float> x = normal(96);
    for (float& value : x) value *= 0.1F;
    const std::vector<float> y = feed(k, layer, x, false);
    expect(near(y, feed(fairlead::plain_table(), layer, x, false), 1e-4F), k.isa, what);
    expect(y == feed(k, layer, x, true), k.isa, "sparse has the bits of dense");
}

struct Packed {
    std::vector<std::uint8_t> bytes;
    fairlead::PackedView view;
};

// Random stored weights with small random scales; what pads a row is zero.
Packed packed(std::size_t rows, std::size_t columns, int bits) {
    Packed m;
    m.view = {nullptr, rows, columns, 0, bits};
    m.view.stride = m.view.row_bytes();
    m.bytes.resize(rows * m.view.stride);
    m.view.data = m.bytes.data();
    for (std::size_t r = 0; r < rows; ++r) {
        std::uint8_t* row = m.bytes.data() + r * m.view.stride;
        for (std::size_t i = 0; i < m.view.quant_bytes(); ++i) row[i] = static_cast<std::uint8_t>(generator());
        for (std::size_t g = 0; g < m.view.groups(); ++g) {
            row[m.view.quant_bytes() + 2 * g] = static_cast<std::uint8_t>(generator());
            row[m.view.quant_bytes() + 2 * g + 1] = 0x20;
        }
    }
    return m;
}

std::vector<float> packed_product(const KernelTable& k, const Packed& m, const float* x, std::size_t batch) {
    fairlead::QuantizedInput input;
    fairlead::quantize_input(k, x, batch, m.view.columns, input);
    std::vector<float> out(batch * m.view.rows);
    fairlead::multiply_packed(k, m.view, input, out.data());
    return out;
}

void check_packed_products(const KernelTable& k, const Packed& m) {
    const std::size_t batch = 13, columns = m.view.columns;
    const std::vector<float> x = normal(batch * columns);
    const std::vector<float> whole = packed_product(k, m, x.data(), batch);
    expect(near(whole, packed_product(fairlead::plain_table(), m, x.data(), batch), 1e-4F), k.isa,
           "packed products equal the plain ones");
    std::vector<float> rows;
    for (std::size_t b = 0; b < batch; ++b) {
        const std::vector<float> one = packed_product(k, m, x.data() + b * columns, 1);
        rows.insert(rows.end(), one.begin(), one.end());
    }
    expect(rows == whole, k.isa, "a packed batch has the bits of its rows");
    std::vector<float> a(m.view.rows * columns), b(a.size());
    fairlead::dequantize_packed(k, m.view, 0, m.view.rows, a.data());
    fairlead::dequantize_packed(fairlead::plain_table(), m.view, 0, m.view.rows, b.data());
    expect(a == b, k.isa, "dequantized weights are exact");
}

std::vector<float> packed_feed(const KernelTable& k, const fairlead::PackedFeedForwardView& layer,
                               const std::vector<float>& x, std::size_t tokens) {
    fairlead::PackedFeedForwardScratch scratch;
    fairlead::QuantizedInput input;
    fairlead::quantize_input(k, x.data(), tokens, layer.gate.columns, input);
    std::vector<float> y(tokens * layer.down_t.columns);
    if (tokens > 1) {
        fairlead::feed_forward_packed_batch(k, layer, input, nullptr, 0, scratch, y.data(), nullptr);
    } else {
        fairlead::feed_forward_packed(k, layer, input, nullptr, 0, scratch, y.data());
    }
    return y;
}

void check_packed_feed_forward(const KernelTable& k, int bits) {
    const Packed gate = packed(333, 96, bits), up = packed(333, 96, bits), down = packed(333, 672, bits);
    const fairlead::PackedFeedForwardView layer{gate.view, up.view, down.view, fairlead::Activation::swiglu, 0.0F};
    std::vector<float> x = normal(96);
    const std::vector<float> y = packed_feed(k, layer, x, 1);
    expect(near(y, packed_feed(fairlead::plain_table(), layer, x, 1), 1e-3F), k.isa,
           "the packed feed-forward equals the plain one");
    x.insert(x.end(), x.begin(), x.begin() + 96);
    std::vector<float> twice = y;
    twice.insert(twice.end(), y.begin(), y.end());
    expect(packed_feed(k, layer, x, 2) == twice, k.isa, "packed tokens have the bits of a single one");
}

std::vector<float> attended_int8(const KernelTable& k, const std::vector<float>& pages,
                                 const std::vector<float>& query) {
    const std::int32_t table[] = {3, 0, 2};
    std::vector<std::int8_t> q(pages.size());
    std::vector<float> scale(pages.size() / 20), out(query.size());
    fairlead::quantize_heads(k, pages.data(), scale.size(), 20, q.data(), scale.data());
    const fairlead::Int8PageView view{q.data(), 8, 2, 20, scale.data()};
    const fairlead::Int8AttentionTask task{query.data(), view, view, table, 4, 17, 0.2F, out.data()};
    fairlead::attend(k, task, query.size() / 80);
    return out;
}

std::vector<float> attended(const KernelTable& k, std::vector<float>& pages, const std::vector<float>& query) {
    const std::int32_t table[] = {3, 0, 2};
    std::vector<float> out(query.size());
    const fairlead::PageView view{pages.data(), 8, 2, 20};
    const fairlead::AttentionTask task{query.data(), view, view, table, 4, 17, 0.2F, out.data()};
    fairlead::attend(k, task, query.size() / 80);
    return out;
}

void check_attention(const KernelTable& k) {
    std::vector<float> pages = normal(4 * 8 * 2 * 20);
    const std::vector<float> query = normal(5 * 4 * 20);
    expect(near(attended(k, pages, query), attended(fairlead::plain_table(), pages, query), 1e-5F), k.isa,
           "attention equals the plain one");
    expect(near(attended_int8(k, pages, query), attended_int8(fairlead::plain_table(), pages, query), 1e-5F), k.isa,
           "attention over int8 pages equals the plain one");
}

void check_quantization(const KernelTable& k) {
    const std::vector<float> values = normal(64 * 96);
    std::vector<std::int8_t> q(values.size()), expected(values.size());
    std::vector<std::uint16_t> scale(values.size() / 32), expected_scale(values.size() / 32);
    fairlead::quantize(k, values.data(), 64, 96, q.data(), scale.data());
    fairlead::quantize(fairlead::plain_table(), values.data(), 64, 96, expected.data(), expected_scale.data());
    expect(q == expected && scale == expected_scale, k.isa, "quantization has the plain bits");
}

void check_small(const KernelTable& k) {
    const KernelTable& plain = fairlead::plain_table();
    for (const std::size_t n : {1UL, 3UL, 4UL, 15UL, 16UL, 37UL}) {
        const std::vector<float> x = normal(n), weight = normal(n), bias = normal(n);
        std::vector<float> a(n), b(n);
        k.rmsnorm(x.data(), weight.data(), 1e-5F, n, a.data());
        plain.rmsnorm(x.data(), weight.data(), 1e-5F, n, b.data());
        bool same = near(a, b, 1e-5F);
        k.layernorm(x.data(), weight.data(), bias.data(), 1e-5F, n, a.data());
        plain.layernorm(x.data(), weight.data(), bias.data(), 1e-5F, n, b.data());
        same = same && near(a, b, 1e-5F);
        k.softmax(a.data(), n);
        plain.softmax(b.data(), n);
        same = same && near(a, b, 1e-5F);
        std::vector<float> c = normal(2 * n), d = c;
        k.rope(c.data(), 1, 2 * n, x.data(), weight.data());
        plain.rope(d.data(), 1, 2 * n, x.data(), weight.data());
        expect(same && near(c, d, 1e-5F), k.isa, "norms, softmax and rope equal the plain ones");
    }
}

// A mixture of four experts of which each token chooses two, with a shared one.
std::vector<float> mixed(const KernelTable& k, const std::vector<Matrix>& rows, const std::vector<float>& router,
                         const std::vector<float>& x, bool batch) {
    const std::size_t hidden = rows[0].view.columns, tokens = x.size() / hidden;
    std::vector<std::shared_ptr<fairlead::FeedForward>> networks;
    for (std::size_t i = 0; i < rows.size(); i += 3) {
        const fairlead::FeedForwardView view{rows[i].view, rows[i + 1].view, rows[i + 2].view,
                                             fairlead::Activation::swiglu};
        networks.push_back(std::make_shared<fairlead::Q8FeedForward>(view));
    }
    const std::shared_ptr<fairlead::FeedForward> shared = networks.back();
    networks.pop_back();
    fairlead::RouterView view{router.data(), hidden, 2};
    view.shared_gate = router.data();
    fairlead::MixtureFeedForward mixture(view, networks, shared);
    fairlead::Work work;
    std::vector<float> y(x.size());
    if (batch) mixture.batch(k, x.data(), tokens, y.data(), work);
    for (std::size_t t = 0; t < tokens && !batch; ++t) mixture.step(k, x.data() + t * hidden, y.data() + t * hidden, work);
    return y;
}

void check_mixture(const KernelTable& k) {
    std::vector<Matrix> rows;
    for (std::size_t i = 0; i < 5 * 3; ++i) rows.push_back(matrix(96, 128));
    const std::vector<float> router = normal(4 * 128), x = normal(9 * 128);
    const std::vector<float> whole = mixed(k, rows, router, x, true);
    expect(near(whole, mixed(fairlead::plain_table(), rows, router, x, true), 1e-3F), k.isa,
           "a mixture equals the plain one");
    expect(whole == mixed(k, rows, router, x, false), k.isa, "a mixture's batch has the bits of its tokens");
}

// Unified pages of three table rows of which each has tokens in both tiers: formats by their bits.
struct Unified {
    static constexpr std::size_t kDim = 40, kPageBytes = 4096, kWidth = 5, kTokens = 9, kCount = 37;
    std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(3 * kWidth * kPageBytes);
    std::vector<std::int32_t> tables;
    fairlead::UnifiedView view;

    Unified(int high_bits, int low_bits) {
        for (int i = 0; i < 3 * static_cast<int>(kWidth); ++i) tables.push_back(i * 7 % 15);
        view = {bytes.data(), kPageBytes, kDim, {format(high_bits), format(low_bits)}, tables.data(), kWidth};
    }
    static fairlead::PageFormat format(int bits) {
        const std::size_t vectors = kTokens * kDim * static_cast<std::size_t>(bits) / 8, meta = kTokens * 4;
        return {bits, bits, kTokens, 0, vectors, vectors + meta, 2 * vectors + meta, 2 * vectors + 2 * meta,
                2 * vectors + 2 * meta + 32};
    }
};

std::vector<float> unified(const KernelTable& k, int high_bits, int low_bits, const std::vector<float>& vectors,
                           std::vector<float>& scores) {
    Unified pages(high_bits, low_bits);
    const std::size_t dim = Unified::kDim;
    for (const int tier : {fairlead::kHigh, fairlead::kLow}) {
        // 37 tokens would be five pages of nine: the tiers share a row's five.
        const std::size_t tokens = tier == fairlead::kHigh ? 19 : 18;
        std::vector<std::int32_t> rows, slots, positions;
        for (std::size_t t = 0; t < tokens; ++t) {
            for (int row = 0; row < 3; ++row) {
                rows.push_back(row);
                slots.push_back(static_cast<std::int32_t>(t));
            }
            positions.push_back(static_cast<std::int32_t>(t));
        }
        const std::vector<float> nothing(rows.size());
        const float* from = vectors.data() + (tier == fairlead::kHigh ? 0 : 3 * 19 * dim);
        fairlead::write(k, {pages.view, tier, tokens, 3, rows.data(), slots.data(), from, from, nothing.data(),
                            positions.data()});
    }
    const std::int32_t rows[] = {0, 1, 2}, starts[] = {0, 1}, counts[] = {19, 18, 19, 18, 19, 18}, now[] = {25};
    std::vector<float> out(6 * dim), total(6);
    fairlead::AttentionBatch batch;
    batch.pages = pages.view;
    batch.queries = vectors.data();
    batch.out = out.data();
    batch.total = total.data();
    batch.sequences = 1;
    batch.heads = 6;
    batch.kv_heads = 3;
    batch.starts = starts;
    batch.rows = rows;
    batch.counts = counts;
    batch.scale = 0.2F;
    batch.now = now;
    fairlead::attend(k, batch);
    scores.clear();
    for (std::size_t i = 0; i < 9; ++i) {
        const std::uint8_t* page = pages.view.page(pages.view.tables, fairlead::kHigh, 0);
        scores.push_back(fairlead::half_to_float(
            reinterpret_cast<const std::uint16_t*>(page + pages.view.tier[fairlead::kHigh].scores)[i]));
    }
    // The last three tokens as a chunk of the first row: causal.
    const std::int32_t chunk[] = {0, 3}, before[] = {16};
    batch.kv_heads = 1;
    batch.heads = 2;
    batch.starts = chunk;
    batch.counts = before;
    batch.causal = true;
    batch.now = nullptr;
    std::vector<float> causal(6 * dim), sums(2 * 19);
    batch.out = causal.data();
    fairlead::attend(k, batch);
    fairlead::add_received(k, batch, {sums.data()});
    for (const std::vector<float>* part : {&causal, &sums}) out.insert(out.end(), part->begin(), part->end());
    return out;
}

void check_unified(const KernelTable& k) {
    const std::vector<float> vectors = normal(3 * Unified::kCount * Unified::kDim);
    for (const auto& [high, low] : {std::pair{32, 16}, {8, 4}, {4, 2}}) {
        std::vector<float> scores, expected_scores;
        const std::vector<float> found = unified(k, high, low, vectors, scores);
        const std::vector<float> expected = unified(fairlead::plain_table(), high, low, vectors, expected_scores);
        expect(near(found, expected, 5e-4F) && near(scores, expected_scores, 3e-3F), k.isa,
               "attention over unified pages equals the plain one");
    }
}

void check(const KernelTable& k) {
    check_products(k, matrix(203, 256));
    check_feed_forward(k, fairlead::Activation::drelu, "drelu equals the plain one");
    check_feed_forward(k, fairlead::Activation::swiglu, "swiglu equals the plain one");
    check_feed_forward(k, fairlead::Activation::geglu, "geglu equals the plain one");
    for (const int bits : {4, 8}) {
        for (const std::size_t columns : {32UL, 224UL, 640UL, 2048UL}) check_packed_products(k, packed(37, columns, bits));
        check_packed_feed_forward(k, bits);
    }
    check_mixture(k);
    check_attention(k);
    check_quantization(k);
    check_small(k);
    check_unified(k);
}

}  // namespace

int main() {
    for (const std::size_t threads : {1UL, 3UL}) {
        fairlead::ThreadPool::instance().resize(threads);
        for (const std::string& isa : fairlead::available_isas()) {
            fairlead::select_isa(isa);
            check(fairlead::kernels_in_use());
        }
    }
    failures += vector_failures() + radio_failures();
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
