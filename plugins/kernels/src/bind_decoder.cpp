#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <optional>

#include "bindings.hpp"
#include "fairlead/decoder.hpp"
#include "network_weights.hpp"

namespace fairlead::python {
namespace {

// The most sequences that one call of run_many takes.
constexpr std::size_t kMostSequences = 8;

using AnyPages = nb::ndarray<nb::ndim<5>, nb::c_contig, nb::device::cpu>;
using Tokens = Array<const std::int32_t, 1>;

Weight weight_of(nb::handle owner, const char* name, std::size_t rows, std::size_t columns) {
    const nb::object matrix = owner.attr(name);
    if (is_packed(matrix)) return checked(packed_view(matrix), name, rows, columns);
    return checked(view(matrix), name, rows, columns);
}

std::size_t size_of(nb::handle owner, const char* name) { return nb::cast<std::size_t>(owner.attr(name)); }

// The arrays of keys and values: dtype float32, or int8 and then with scales.
struct PageArrays {
    AnyPages keys, values;
    std::optional<Array<float, 4>> key_scale, value_scale;

    bool rounded() const { return keys.dtype() == nb::dtype<std::int8_t>(); }

    void check() const {
        require(rounded() || keys.dtype() == nb::dtype<float>(), "key_pages: must be float32 or int8");
        require(values.dtype() == keys.dtype(), "value_pages: must be of the type of key_pages");
        for (std::size_t i = 0; i < 5; ++i) {
            require(keys.shape(i) == values.shape(i), "key_pages, value_pages: shapes differ");
        }
        require(rounded() == key_scale.has_value() && rounded() == value_scale.has_value(),
                "key_scale, value_scale: int8 pages need them, float32 ones have none");
        for (std::size_t i = 0; i < 4 && rounded(); ++i) {
            require(key_scale->shape(i) == keys.shape(i) && value_scale->shape(i) == keys.shape(i),
                    "key_scale, value_scale: must be [layers, pages, page_size, kv_heads]");
        }
    }

    KeyValueArena arena() const {
        KeyValueArena out;
        if (rounded()) {
            out.rounded_keys = static_cast<std::int8_t*>(keys.data());
            out.rounded_values = static_cast<std::int8_t*>(values.data());
            out.key_scale = key_scale->data();
            out.value_scale = value_scale->data();
        } else {
            out.keys = static_cast<float*>(keys.data());
            out.values = static_cast<float*>(values.data());
        }
        return out;
    }
};

DecoderShape shape_of(nb::handle config, const AnyPages& keys) {
    DecoderShape shape;
    shape.vocabulary = size_of(config, "vocabulary");
    shape.hidden = size_of(config, "hidden");
    shape.heads = size_of(config, "heads");
    shape.kv_heads = size_of(config, "kv_heads");
    shape.head_dim = size_of(config, "head_dim");
    require(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "heads: must be a multiple of kv_heads");
    shape.pages = keys.shape(1);
    shape.page_size = keys.shape(2);
    require(shape.page_size > 0, "key_pages: page_size must be positive");
    require(keys.shape(3) == shape.kv_heads && keys.shape(4) == shape.head_dim,
            "key_pages: must be [layers, pages, page_size, kv_heads, head_dim]");
    shape.norm_epsilon = nb::cast<float>(config.attr("norm_epsilon"));
    shape.norm_first = nb::cast<bool>(config.attr("norm_first"));
    shape.attention_scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
    return shape;
}

LayerView layer_of(nb::handle layer, nb::handle config, const DecoderShape& s, const SharedScratch& scratch) {
    const std::size_t query = s.heads * s.head_dim;
    const std::size_t key = s.kv_heads * s.head_dim;
    LayerView out;
    out.attention_norm = {vector_of(layer, "attention_norm", s.hidden),
                          vector_of(layer, "attention_norm_bias", s.hidden)};
    out.query = weight_of(layer, "query", query, s.hidden);
    out.key = weight_of(layer, "key", key, s.hidden);
    out.value = weight_of(layer, "value", key, s.hidden);
    out.output = weight_of(layer, "output", s.hidden, query);
    out.query_bias = vector_of(layer, "query_bias", query);
    out.key_bias = vector_of(layer, "key_bias", key);
    out.value_bias = vector_of(layer, "value_bias", key);
    out.output_bias = vector_of(layer, "output_bias", s.hidden);
    out.query_norm = vector_of(layer, "query_norm", s.head_dim);
    out.key_norm = vector_of(layer, "key_norm", s.head_dim);
    out.feed_forward_norm = {vector_of(layer, "feed_forward_norm", s.hidden),
                             vector_of(layer, "feed_forward_norm_bias", s.hidden)};
    require(out.attention_norm.weight != nullptr && out.feed_forward_norm.weight != nullptr,
            "norms: must not be None");
    out.feed_forward = feed_forward_of(layer, config, s.hidden, scratch);
    return out;
}

// The decoder with references to every array that it borrows.
class BoundDecoder {
public:
    BoundDecoder(nb::object config, nb::object weights, Array<const float, 1> inverse_frequency,
                 AnyPages keys, AnyPages values, std::optional<Array<float, 4>> key_scale,
                 std::optional<Array<float, 4>> value_scale,
                 std::optional<std::vector<Array<std::int64_t, 1>>> counts)
        : config_(config), weights_(weights), pages_{keys, values, key_scale, value_scale}, counts_(std::move(counts)) {
        pages_.check();
        DecoderShape shape = shape_of(config, keys);
        set_positions(shape, weights.attr("position_embedding"), inverse_frequency);
        const nb::object head = weights.attr("head");
        const Norm final_norm{vector_of(weights, "final_norm", shape.hidden),
                              vector_of(weights, "final_norm_bias", shape.hidden)};
        std::vector<LayerView> layers;
        const SharedScratch scratch;
        for (const nb::handle layer : weights.attr("layers")) {
            layers.push_back(layer_of(layer, config, shape, scratch));
        }
        require(layers.size() == keys.shape(0), "key_pages: the first dimension must be the number of layers");
        if (counts_) attach_counts(layers);
        const Weight embedding = weight_of(weights, "embedding", shape.vocabulary, shape.hidden);
        const Weight output = head.is_none() ? embedding : weight_of(weights, "head", shape.vocabulary, shape.hidden);
        decoder_ = std::make_unique<Decoder>(std::move(shape), std::move(layers), embedding, final_norm, output,
                                             pages_.arena());
    }

    void run(Tokens tokens, std::size_t position, Tokens page_table, bool prompt, Array<float, 2> logits,
             Array<std::int64_t, 2> work) {
        const DecoderShape& shape = decoder_->shape();
        const std::size_t count = tokens.shape(0);
        require(count > 0, "tokens: must not be empty");
        require(prompt || count == 1, "tokens: one, or those of a prompt");
        check_indices(tokens, shape.vocabulary, "tokens");
        check_pages(page_table, position, count, shape.pages, shape.page_size);
        check_position(position + count);
        require(logits.shape(1) == shape.vocabulary && (logits.shape(0) == 1 || logits.shape(0) == count),
                "logits: must be [1 or tokens, vocabulary]");
        check_work(work, decoder_->layers().size());
        for (std::size_t i = 0; i < work.shape(0); ++i) require_feed_forward(i);
        const nb::gil_scoped_release released;
        const std::lock_guard lock(decoder_->lock());
        decoder_->run(tokens.data(), count, position, page_table.data(), prompt, logits.shape(0) == count,
                      logits.data(), reinterpret_cast<Work*>(work.data()));
    }

    void run_many(Tokens tokens, Tokens positions, const std::vector<Tokens>& tables, Array<float, 2> logits,
                  Array<std::int32_t, 2> active, Array<std::int64_t, 2> work) {
        const DecoderShape& shape = decoder_->shape();
        const std::size_t count = tokens.shape(0), layers = decoder_->layers().size();
        require(count > 0 && count <= kMostSequences, "tokens: must be 1 to 8");
        require(positions.shape(0) == count && tables.size() == count, "positions, page_tables: one for each token");
        check_indices(tokens, shape.vocabulary, "tokens");
        Place places[kMostSequences];
        for (std::size_t t = 0; t < count; ++t) {
            const auto position = static_cast<std::size_t>(positions.data()[t]);
            check_pages(tables[t], position, 1, shape.pages, shape.page_size);
            check_position(position + 1);
            places[t] = {position, tables[t].data()};
        }
        require(logits.shape(0) == count && logits.shape(1) == shape.vocabulary, "logits: must be [tokens, vocabulary]");
        require(active.shape(0) == layers && active.shape(1) == count, "active: must be [layers, tokens]");
        check_work(work, layers);
        for (std::size_t i = 0; i < layers; ++i) require_feed_forward(i);
        const nb::gil_scoped_release released;
        const std::lock_guard lock(decoder_->lock());
        decoder_->run_many(tokens.data(), places, count, logits.data(), active.data(),
                           reinterpret_cast<Work*>(work.data()));
    }

    void force_neurons(std::size_t layer, const std::vector<Tokens>& lists) {
        check_layer(layer);
        require_feed_forward(layer);
        NeuronPredictor* predictor = decoder_->layers()[layer].feed_forward->predictor();
        require(predictor != nullptr, "layer " + std::to_string(layer) + " has no predictor in use");
        NeuronLists forced;
        for (const Tokens& list : lists) {
            check_indices(list, predictor->neurons(), "neurons");
            forced.emplace_back(list.data(), list.data() + list.shape(0));
        }
        const nb::gil_scoped_release released;
        const std::lock_guard lock(decoder_->lock());
        predictor->force(std::move(forced));
    }

    void embed(Tokens tokens, std::size_t position, Array<float, 2> hidden) {
        const std::size_t count = tokens.shape(0), width = decoder_->shape().hidden;
        check_indices(tokens, decoder_->shape().vocabulary, "tokens");
        check_hidden(hidden, count);
        check_position(position + count);
        decoder_->embed(tokens.data(), count, hidden.data());
        for (std::size_t t = 0; t < count; ++t) decoder_->add_position(position + t, hidden.data() + t * width);
    }

    void attend(std::size_t layer, Array<float, 2> hidden, std::size_t position, Tokens page_table) {
        const DecoderShape& shape = decoder_->shape();
        check_layer(layer);
        check_hidden(hidden, hidden.shape(0));
        check_pages(page_table, position, hidden.shape(0), shape.pages, shape.page_size);
        const nb::gil_scoped_release released;
        const std::lock_guard lock(decoder_->lock());
        decoder_->attend(layer, hidden.data(), hidden.shape(0), position, page_table.data());
    }

    void feed_forward(std::size_t layer, Array<float, 2> hidden, std::optional<Tokens> neurons,
                      Array<std::int64_t, 2> work) {
        check_layer(layer);
        require_feed_forward(layer);
        check_hidden(hidden, hidden.shape(0));
        check_work(work, 1);
        require(!neurons || hidden.shape(0) == 1, "neurons: only for one token");
        if (neurons) check_indices(*neurons, decoder_->layers()[layer].feed_forward->neurons(), "neurons");
        // An empty list has no data pointer.
        const std::int32_t none = 0;
        const std::int32_t* chosen = neurons && neurons->shape(0) > 0 ? neurons->data() : &none;
        Work& told = *reinterpret_cast<Work*>(work.data());
        const nb::gil_scoped_release released;
        const std::lock_guard lock(decoder_->lock());
        if (neurons) {
            decoder_->feed_forward_of(layer, hidden.data(), chosen, neurons->shape(0), told);
        } else {
            decoder_->feed_forward(layer, hidden.data(), hidden.shape(0), hidden.shape(0) > 1, told);
        }
    }

    void logits(Array<const float, 2> hidden, Array<float, 2> out) {
        require(hidden.shape(1) == decoder_->shape().hidden && hidden.shape(0) > 0, "hidden: must be [tokens, hidden]");
        require(out.shape(0) == hidden.shape(0) && out.shape(1) == decoder_->shape().vocabulary,
                "out: must be [tokens, vocabulary]");
        const nb::gil_scoped_release released;
        const std::lock_guard lock(decoder_->lock());
        decoder_->logits(hidden.data(), hidden.shape(0), out.data());
    }

private:
    void attach_counts(std::vector<LayerView>& layers) {
        require(counts_->size() == layers.size(), "activation_counts: must have one array a layer");
        for (std::size_t i = 0; i < layers.size(); ++i) {
            if (layers[i].feed_forward == nullptr) continue;
            require((*counts_)[i].shape(0) == layers[i].feed_forward->neurons(), "activation_counts: wrong length");
            // The deleter holds a reference to the array.
            layers[i].feed_forward->count_activations(std::shared_ptr<std::int64_t>(
                (*counts_)[i].data(), [array = (*counts_)[i]](std::int64_t*) {}));
        }
    }

    // Positions are learned, or they rotate.
    static void set_positions(DecoderShape& shape, nb::handle table, const Array<const float, 1>& frequency) {
        if (table.is_none()) {
            require(frequency.shape(0) * 2 == shape.head_dim, "inverse_frequency: must be [head_dim / 2]");
            shape.inverse_frequency.assign(frequency.data(), frequency.data() + shape.head_dim / 2);
            return;
        }
        const auto rows = nb::cast<Array<const float, 2>>(table, false);
        require(rows.shape(1) == shape.hidden, "position_embedding: must be [positions, hidden]");
        shape.position_embedding = rows.data();
        shape.positions = rows.shape(0);
    }

    void check_position(std::size_t end) const {
        const DecoderShape& shape = decoder_->shape();
        if (shape.position_embedding != nullptr && end > shape.positions) {
            throw nb::index_error("position: beyond the learned ones");
        }
    }

    void check_layer(std::size_t layer) const {
        if (layer >= decoder_->layers().size()) throw nb::index_error("layer: no such layer");
    }

    static void check_work(const Array<std::int64_t, 2>& work, std::size_t layers) {
        require(work.shape(0) == layers && work.shape(1) == kWorkFields, "work: must be int64 [layers, fields]");
    }

    void check_hidden(const Array<float, 2>& hidden, std::size_t tokens) const {
        require(tokens > 0 && hidden.shape(0) == tokens && hidden.shape(1) == decoder_->shape().hidden,
                "hidden: must be [tokens, hidden]");
    }

    void require_feed_forward(std::size_t layer) const {
        require(decoder_->layers()[layer].feed_forward != nullptr,
                "layer " + std::to_string(layer) + " has no feed-forward weights");
    }

    nb::object config_;
    nb::object weights_;
    PageArrays pages_;
    std::optional<std::vector<Array<std::int64_t, 1>>> counts_;
    std::unique_ptr<Decoder> decoder_;
};

}  // namespace

void bind_decoder(nb::module_& module) {
    nb::class_<FeedForward>(module, "FeedForward").def_prop_ro("neurons", &FeedForward::neurons);
    nb::class_<BoundDecoder>(module, "Decoder")
        .def(nb::init<nb::object, nb::object, Array<const float, 1>, AnyPages, AnyPages,
                      std::optional<Array<float, 4>>, std::optional<Array<float, 4>>,
                      std::optional<std::vector<Array<std::int64_t, 1>>>>(),
             nb::arg(), nb::arg(), nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
             nb::arg().noconvert().none(), nb::arg().noconvert().none(), nb::arg().noconvert().none())
        .def("run", &BoundDecoder::run, nb::arg().noconvert(), nb::arg(), nb::arg().noconvert(), nb::arg(),
             nb::arg().noconvert(), nb::arg().noconvert())
        .def("run_many", &BoundDecoder::run_many, nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert(),
             nb::arg().noconvert(), nb::arg().noconvert(), nb::arg().noconvert())
        .def("force_neurons", &BoundDecoder::force_neurons, nb::arg(), nb::arg())
        .def("embed", &BoundDecoder::embed, nb::arg().noconvert(), nb::arg(), nb::arg().noconvert())
        .def("attend", &BoundDecoder::attend, nb::arg(), nb::arg().noconvert(), nb::arg(), nb::arg().noconvert())
        .def("feed_forward", &BoundDecoder::feed_forward, nb::arg(), nb::arg().noconvert(),
             nb::arg().noconvert().none(), nb::arg().noconvert())
        .def("logits", &BoundDecoder::logits, nb::arg().noconvert(), nb::arg().noconvert());
}

}  // namespace fairlead::python
