#pragma once

#include "kernels/softmax.hpp"

namespace fairlead::kernels {

template <class V>
FAIRLEAD_INLINE float dot(const float* a, const float* b, std::size_t count) {
    typename V::Vec sum = V::zero();
    std::size_t i = 0;
    for (; i + V::width <= count; i += V::width) sum = V::fma(V::load(a + i), V::load(b + i), sum);
    if (i < count) sum = V::fma(V::load_n(a + i, count - i), V::load_n(b + i, count - i), sum);
    return V::sum(sum);
}

// Calls f(run, position, entry) once a page: `run` positions whose entries follow one another from `entry`.
template <class F>
FAIRLEAD_INLINE void for_each_page(const PageView& pages, const std::int32_t* table, std::size_t length, F f) {
    for (std::size_t position = 0; position < length; position += pages.page_size) {
        const std::size_t left = length - position;
        f(left < pages.page_size ? left : pages.page_size, position, pages.at(table, position));
    }
}

// out[0, C vectors) = sum_p weight[p] value[p]; n is the number of floats in the last vector.
template <class V, int C>
FAIRLEAD_INLINE void mix_values(const PageView& pages, const std::int32_t* table, const float* weight,
                                std::size_t length, std::size_t offset, std::size_t n, float inverse, float* out) {
    const std::size_t stride = pages.kv_heads * pages.head_dim;
    typename V::Vec sum[C];
    FAIRLEAD_UNROLL
    for (int c = 0; c < C; ++c) sum[c] = V::zero();
    for_each_page(pages, table, length, [&](std::size_t run, std::size_t position, const float* entry) {
        for (std::size_t p = 0; p < run; ++p) {
            const typename V::Vec w = V::set1(weight[position + p]);
            const float* value = entry + p * stride + offset;
            FAIRLEAD_UNROLL
            for (int c = 0; c + 1 < C; ++c) sum[c] = V::fma(V::load(value + c * V::width), w, sum[c]);
            sum[C - 1] = V::fma(load_within<V>(value + (C - 1) * V::width, 0, n), w, sum[C - 1]);
        }
    });
    const typename V::Vec factor = V::set1(inverse);
    FAIRLEAD_UNROLL
    for (int c = 0; c + 1 < C; ++c) V::store(out + c * V::width, V::mul(sum[c], factor));
    V::store_n(out + (C - 1) * V::width, V::mul(sum[C - 1], factor), n);
}

template <class V>
FAIRLEAD_INLINE void attend_head(const AttentionTask& task, std::size_t token, std::size_t head, float* scores) {
    const std::size_t dim = task.keys.head_dim;
    const std::size_t length = task.first_length + token;
    const std::size_t kv_offset = head / (task.heads / task.keys.kv_heads) * dim;
    const std::size_t stride = task.keys.kv_heads * dim;
    const float* query = task.query + (token * task.heads + head) * dim;
    for_each_page(task.keys, task.page_table, length, [&](std::size_t run, std::size_t position, const float* entry) {
        for (std::size_t p = 0; p < run; ++p) {
            scores[position + p] = dot<V>(query, entry + p * stride + kv_offset, dim) * task.scale;
        }
    });
    const float inverse = 1.0F / exponentiate<V>(scores, length);
    float* out = task.out + (token * task.heads + head) * dim;
    constexpr std::size_t block = 4 * V::width;
    std::size_t c = 0;
    for (; c + block <= dim; c += block) {
        mix_values<V, 4>(task.values, task.page_table, scores, length, kv_offset + c, V::width, inverse, out + c);
    }
    for (; c < dim; c += V::width) {
        const std::size_t n = dim - c < static_cast<std::size_t>(V::width) ? dim - c : V::width;
        mix_values<V, 1>(task.values, task.page_table, scores, length, kv_offset + c, n, inverse, out + c);
    }
}

template <class V>
void attend(const AttentionTask& task, std::size_t begin, std::size_t end, float* scratch) {
    for (std::size_t item = begin; item < end; ++item) {
        attend_head<V>(task, item / task.heads, item % task.heads, scratch);
    }
}

}  // namespace fairlead::kernels
