#pragma once

#include "kernels/lanes.hpp"
#include "kernels/softmax.hpp"

namespace fairlead::kernels {

template <class V>
FAIRLEAD_INLINE typename V::Vec load_entry(const float* p) {
    return V::load(p);
}
template <class V>
FAIRLEAD_INLINE typename V::Vec load_entry(const std::int8_t* p) {
    return V::from_int8(p);
}
template <class V>
FAIRLEAD_INLINE typename V::Vec load_entry_n(const float* p, std::size_t n) {
    return V::load_n(p, n);
}
template <class V>
FAIRLEAD_INLINE typename V::Vec load_entry_n(const std::int8_t* p, std::size_t n) {
    std::int8_t lanes[V::width] = {};
    __builtin_memcpy(lanes, p, n);
    return V::from_int8(lanes);
}

// scores[p] = dot(query, entry + p * stride) * scale for P positions; each has its own accumulator.
template <class V, int P, class T>
FAIRLEAD_INLINE void score_block(const float* query, const T* entry, std::size_t stride, std::size_t dim,
                                 float scale, float* scores) {
    typename V::Vec sum[P];
    FAIRLEAD_UNROLL
    for (int p = 0; p < P; ++p) sum[p] = V::zero();
    std::size_t i = 0;
    for (; i + V::width <= dim; i += V::width) {
        const typename V::Vec q = V::load(query + i);
        FAIRLEAD_UNROLL
        for (int p = 0; p < P; ++p) sum[p] = V::fma(q, load_entry<V>(entry + p * stride + i), sum[p]);
    }
    if (i < dim) {
        const typename V::Vec q = V::load_n(query + i, dim - i);
        FAIRLEAD_UNROLL
        for (int p = 0; p < P; ++p) sum[p] = V::fma(q, load_entry_n<V>(entry + p * stride + i, dim - i), sum[p]);
    }
    if constexpr (P == 4 && requires { V::store_sums(sum, scores); }) {
        V::store_sums(sum, scores);
        FAIRLEAD_UNROLL
        for (int p = 0; p < P; ++p) scores[p] *= scale;
    } else {
        FAIRLEAD_UNROLL
        for (int p = 0; p < P; ++p) scores[p] = V::sum(sum[p]) * scale;
    }
}

// Calls f(run, position, entry) once a page: `run` positions whose entries follow one another from `entry`.
template <class T, class F>
FAIRLEAD_INLINE void for_each_page(const Pages<T>& pages, const std::int32_t* table, std::size_t length, F f) {
    for (std::size_t position = 0; position < length; position += pages.page_size) {
        const std::size_t left = length - position;
        f(left < pages.page_size ? left : pages.page_size, position, pages.at(table, position));
    }
}

// out[0, C vectors) = inverse * sum_p weight[p] value[p].
template <class V, int C, class T>
FAIRLEAD_INLINE void mix_values(const Pages<T>& pages, const std::int32_t* table, const float* weight,
                                std::size_t length, std::size_t offset, float inverse, float* out) {
    const std::size_t stride = pages.kv_heads * pages.head_dim;
    typename V::Vec sum[C];
    FAIRLEAD_UNROLL
    for (int c = 0; c < C; ++c) sum[c] = V::zero();
    for_each_page(pages, table, length, [&](std::size_t run, std::size_t position, const T* entry) {
        for (std::size_t p = 0; p < run; ++p) {
            const typename V::Vec w = V::set1(weight[position + p]);
            const T* value = entry + p * stride + offset;
            FAIRLEAD_UNROLL
            for (int c = 0; c < C; ++c) sum[c] = V::fma(load_entry<V>(value + c * V::width), w, sum[c]);
        }
    });
    const typename V::Vec factor = V::set1(inverse);
    FAIRLEAD_UNROLL
    for (int c = 0; c < C; ++c) V::store(out + c * V::width, V::mul(sum[c], factor));
}

// The same for the last n dimensions, fewer than a vector.
template <class V, class T>
FAIRLEAD_INLINE void mix_tail(const Pages<T>& pages, const std::int32_t* table, const float* weight,
                              std::size_t length, std::size_t offset, std::size_t n, float inverse, float* out) {
    const std::size_t stride = pages.kv_heads * pages.head_dim;
    typename V::Vec sum = V::zero();
    for_each_page(pages, table, length, [&](std::size_t run, std::size_t position, const T* entry) {
        for (std::size_t p = 0; p < run; ++p) {
            sum = V::fma(load_entry_n<V>(entry + p * stride + offset, n), V::set1(weight[position + p]), sum);
        }
    });
    V::store_n(out, V::mul(sum, V::set1(inverse)), n);
}

template <class V, class T>
FAIRLEAD_INLINE void mix_head(const Pages<T>& pages, const std::int32_t* table, const float* weight,
                              std::size_t length, std::size_t offset, float inverse, float* out) {
    const std::size_t dim = pages.head_dim;
    std::size_t c = 0;
    for (; c + 4 * V::width <= dim; c += 4 * V::width) {
        mix_values<V, 4>(pages, table, weight, length, offset + c, inverse, out + c);
    }
    for (; c + 2 * V::width <= dim; c += 2 * V::width) {
        mix_values<V, 2>(pages, table, weight, length, offset + c, inverse, out + c);
    }
    for (; c + V::width <= dim; c += V::width) {
        mix_values<V, 1>(pages, table, weight, length, offset + c, inverse, out + c);
    }
    if (c < dim) mix_tail<V>(pages, table, weight, length, offset + c, dim - c, inverse, out + c);
}

// weight[p] *= the scale of position p's entry for a head.
template <class T>
FAIRLEAD_INLINE void apply_scales(const Pages<T>& pages, const std::int32_t* table, std::size_t length,
                                  std::size_t kv_head, float* weight) {
    if (pages.scale == nullptr) return;
    for (std::size_t position = 0; position < length; position += pages.page_size) {
        const std::size_t left = length - position;
        const float* scale = pages.scale_at(table, position) + kv_head;
        for (std::size_t p = 0; p < left && p < pages.page_size; ++p) weight[position + p] *= scale[p * pages.kv_heads];
    }
}

// Fetches a head's part of the page that begins at `position`, if there is one: short pieces far from each other, which
// no processor foresees.
template <class T>
FAIRLEAD_INLINE void fetch_page(const Pages<T>& pages, const std::int32_t* table, std::size_t length,
                                std::size_t position, std::size_t kv_head) {
    if (position >= length) return;
    const std::size_t left = length - position, run = left < pages.page_size ? left : pages.page_size;
    const T* entry = pages.at(table, position) + kv_head * pages.head_dim;
    for (std::size_t p = 0; p < run; ++p) {
        const T* at = entry + p * pages.kv_heads * pages.head_dim;
        prefetch(reinterpret_cast<const std::uint8_t*>(at), pages.head_dim * sizeof(T));
    }
}

template <class V, class T>
FAIRLEAD_INLINE void attend_head(const AttentionOver<T>& task, std::size_t token, std::size_t head, float* scores) {
    const std::size_t dim = task.keys.head_dim;
    const std::size_t length = task.first_length + token;
    const std::size_t sharing = task.heads / task.keys.kv_heads, kv_head = head / sharing;
    const std::size_t stride = task.keys.kv_heads * dim;
    const float* query = task.query + (token * task.heads + head) * dim;
    for_each_page(task.keys, task.page_table, length, [&](std::size_t run, std::size_t position, const T* entry) {
        const T* keys = entry + kv_head * dim;
        if (head % sharing == 0) {
            fetch_page(task.keys, task.page_table, length, position + task.keys.page_size, kv_head);
            fetch_page(task.values, task.page_table, length, position, kv_head);
        }
        std::size_t p = 0;
        for (; p + 4 <= run; p += 4) {
            score_block<V, 4>(query, keys + p * stride, stride, dim, task.scale, scores + position + p);
        }
        for (; p < run; ++p) {
            score_block<V, 1>(query, keys + p * stride, stride, dim, task.scale, scores + position + p);
        }
    });
    apply_scales(task.keys, task.page_table, length, kv_head, scores);
    const float inverse = 1.0F / exponentiate<V>(scores, length);
    apply_scales(task.values, task.page_table, length, kv_head, scores);
    float* out = task.out + (token * task.heads + head) * dim;
    mix_head<V>(task.values, task.page_table, scores, length, kv_head * dim, inverse, out);
}

template <class V, class T>
void attend(const AttentionOver<T>& task, std::size_t begin, std::size_t end, float* scratch) {
    for (std::size_t item = begin; item < end; ++item) {
        attend_head<V>(task, item / task.heads, item % task.heads, scratch);
    }
}

}  // namespace fairlead::kernels
