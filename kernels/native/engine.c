// Gathers the kernel families of one build; compiled once per instruction set and precision like them.
#include "engine.h"
#include "simd.h"
#include "threads.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

// The families that setup.py does not compile for this build are those of another one.
#ifndef REST
#define REST ISA
#endif
#define REST_NAME(name) NAME__(name, REST, PRECISION)

extern const activation_kernels REST_NAME(activation_kernels);
extern const conv_kernels NAME(conv_kernels);
extern const elementwise_kernels REST_NAME(elementwise_kernels);
extern const embedding_kernels REST_NAME(embedding_kernels);
extern const linear_kernels NAME(linear_kernels);
extern const loss_kernels REST_NAME(loss_kernels);
extern const norm_kernels REST_NAME(norm_kernels);
extern const optim_kernels REST_NAME(optim_kernels);
extern const pool_kernels REST_NAME(pool_kernels);
extern const random_kernels REST_NAME(random_kernels);
extern const recurrent_kernels NAME(recurrent_kernels);
extern const reduce_kernels REST_NAME(reduce_kernels);

const engine NAME(engine) = {
    .isa = STRING(ISA),
    .begin = pool_begin,
    .activation = &REST_NAME(activation_kernels),
    .conv = &NAME(conv_kernels),
    .elementwise = &REST_NAME(elementwise_kernels),
    .embedding = &REST_NAME(embedding_kernels),
    .linear = &NAME(linear_kernels),
    .loss = &REST_NAME(loss_kernels),
    .norm = &REST_NAME(norm_kernels),
    .optim = &REST_NAME(optim_kernels),
    .pool = &REST_NAME(pool_kernels),
    .random = &REST_NAME(random_kernels),
    .recurrent = &NAME(recurrent_kernels),
    .reduce = &REST_NAME(reduce_kernels),
};
