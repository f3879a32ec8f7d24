/* One attribute that compiles a function for several widths of the processor's vectors;
 * the widest form that the processor has is picked when the program is loaded.
 *
 * Only sums differ between the forms (more lanes, another order). No result depends on
 * how a loop was split, as long as what is summed together is one call's: products and
 * sums are never fused (meson.build). */
#ifndef AMG_BASE_VECTOR_H
#define AMG_BASE_VECTOR_H

/* clang 14 and ThreadSanitizer stumble over the resolvers that gcc makes for this. */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define AMG_VECTOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define AMG_VECTOR
#endif
/* For the helpers of such functions: they must take their caller's form. */
#define AMG_INLINE static inline __attribute__((always_inline))

#endif
