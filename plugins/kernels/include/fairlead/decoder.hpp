#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "fairlead/feed_forward.hpp"
#include "fairlead/weight.hpp"

namespace fairlead {

struct DecoderShape {
    std::size_t vocabulary = 0;
    std::size_t hidden = 0;
    std::size_t heads = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    std::size_t pages = 0;
    std::size_t page_size = 0;
    float norm_epsilon = 1e-5F;
    float attention_scale = 1.0F;
    // Radians per position of each pair of dimensions, [head_dim / 2]; empty where positions are learned.
    std::vector<float> inverse_frequency;
    // Whether blocks normalize their input, or else the sum of input and output.
    bool norm_first = true;
    // Learned positions [positions, hidden], added to the embedding, or null.
    const float* position_embedding = nullptr;
    std::size_t positions = 0;
};

// RMSNorm, or LayerNorm where there is a bias; none where there is no weight.
struct Norm {
    const float* weight = nullptr;
    const float* bias = nullptr;
};

// Borrowed weights of one layer and its feed-forward; biases and head norms may be null.
struct LayerView {
    Norm attention_norm;
    Weight query, key, value, output;
    const float* query_bias = nullptr;
    const float* key_bias = nullptr;
    const float* value_bias = nullptr;
    const float* output_bias = nullptr;
    const float* query_norm = nullptr;
    const float* key_norm = nullptr;
    Norm feed_forward_norm;
    // Null where the caller computes this feed-forward itself.
    std::shared_ptr<FeedForward> feed_forward;
};

// Borrowed pages of all layers: float32, or int8 with a scale for each position and head.
struct KeyValueArena {
    float* keys = nullptr;
    float* values = nullptr;
    std::int8_t* rounded_keys = nullptr;
    std::int8_t* rounded_values = nullptr;
    float* key_scale = nullptr;
    float* value_scale = nullptr;

    bool rounded() const { return rounded_keys != nullptr; }
};

// Where one token stands: its position, and the pages of its sequence.
struct Place {
    std::size_t position = 0;
    const std::int32_t* page_table = nullptr;
};

// A decoder over borrowed weights and borrowed key-value pages [layers, pages, page_size, kv_heads, head_dim], with
// scales [layers, pages, page_size, kv_heads] where they are int8. Nothing is checked here: tokens, positions and page
// tables must have been. One call at a time (lock).
class Decoder {
public:
    Decoder(DecoderShape shape, std::vector<LayerView> layers, Weight embedding, Norm final_norm, Weight head,
            const KeyValueArena& arena);

    const DecoderShape& shape() const { return shape_; }
    const std::vector<LayerView>& layers() const { return layers_; }
    std::mutex& lock() { return lock_; }

    // hidden[t] = embedding of tokens[t], without learned positions.
    void embed(const std::int32_t* tokens, std::size_t count, float* hidden) const;
    // Adds the learned position to hidden [hidden], where positions are learned.
    void add_position(std::size_t position, float* hidden) const;
    // Adds one layer's attention to hidden [count, hidden]; its keys and values go to the pages.
    void attend(std::size_t layer, float* hidden, std::size_t count, std::size_t position,
                const std::int32_t* page_table);
    // The same for one token each of several sequences, which share no page that they write.
    void attend_many(std::size_t layer, float* hidden, const Place* places, std::size_t count);
    // Adds one layer's feed-forward to hidden [count, hidden]: batch() for tokens of a prompt, else step() of the one
    // token. A list of neurons (one token only) restricts it to them.
    void feed_forward(std::size_t layer, float* hidden, std::size_t count, bool prompt, Work& work);
    void feed_forward_of(std::size_t layer, float* hidden, const std::int32_t* neurons, std::size_t count, Work& work);
    // logits [count, vocabulary] of hidden [count, hidden].
    void logits(const float* hidden, std::size_t count, float* out);

    // Runs tokens at position.. through all layers, those of a prompt without predictors however few they are; else
    // there is one. Writes the last token's logits, or all tokens' when `all`; adds to work[layer].
    void run(const std::int32_t* tokens, std::size_t count, std::size_t position, const std::int32_t* page_table,
             bool prompt, bool all, float* out, Work* work);
    // Runs one token each of several sequences, with the bits of run() for each. Writes logits [count, vocabulary]
    // and the tokens' active neurons [layers, count]; adds to work[layer].
    void run_many(const std::int32_t* tokens, const Place* places, std::size_t count, float* out,
                  std::int32_t* active, Work* work);

private:
    // normal_ and input_ = the norm of hidden [count, hidden].
    void normalize(const float* hidden, const Norm& norm, std::size_t count);
    // The same before a block, where norms come first, else hidden itself; and after it, in place, where they do not.
    void norm_before(const float* hidden, const Norm& norm, std::size_t count);
    void norm_after(float* hidden, const Norm& norm, std::size_t count) const;
    // Lets a layer's mixture choose its experts, where its router looks before the attention.
    void route_early(const LayerView& layer, const float* hidden, std::size_t count) const;
    // Lets a layer read ahead of its attention.
    void prefetch(std::size_t layer, const float* hidden, std::size_t count, Work& work);
    // query_, key_, value_ of input_, rotated to places_.
    void project(const LayerView& layer, std::size_t count);
    void rotate(const LayerView& layer, std::size_t token);
    // Computes the rotations of places_ unless they are those of the last layer.
    void turn_to_places();
    void store(std::size_t layer) const;
    // Adds the output projection of mixed_ to hidden.
    void add_output(const LayerView& layer, float* hidden, std::size_t count);
    template <class T>
    AttentionOver<T> task(T* keys, T* values, std::size_t layer, std::size_t token);
    template <class T>
    Pages<T> pages(T* base, float* scale, std::size_t layer) const;

    DecoderShape shape_;
    std::vector<LayerView> layers_;
    Weight embedding_;
    Norm final_norm_;
    Weight head_;
    KeyValueArena arena_;
    std::mutex lock_;
    std::vector<float> hidden_, normal_, query_, key_, value_, mixed_, residual_, cosine_, sine_;
    WeightInput input_;
    std::vector<Place> places_;
    std::vector<std::size_t> turned_to_;
};

}  // namespace fairlead
