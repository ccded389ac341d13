// Gathers the kernel families of one build; compiled once per instruction set and precision like them.
#include "engine.h"
#include "simd.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

extern const activation_kernels NAME(activation_kernels);
extern const conv_kernels NAME(conv_kernels);
extern const elementwise_kernels NAME(elementwise_kernels);
extern const embedding_kernels NAME(embedding_kernels);
extern const linear_kernels NAME(linear_kernels);
extern const loss_kernels NAME(loss_kernels);
extern const norm_kernels NAME(norm_kernels);
extern const optim_kernels NAME(optim_kernels);
extern const pool_kernels NAME(pool_kernels);
extern const random_kernels NAME(random_kernels);
extern const recurrent_kernels NAME(recurrent_kernels);
extern const reduce_kernels NAME(reduce_kernels);

const engine NAME(engine) = {
    .isa = STRING(ISA),
    .activation = &NAME(activation_kernels),
    .conv = &NAME(conv_kernels),
    .elementwise = &NAME(elementwise_kernels),
    .embedding = &NAME(embedding_kernels),
    .linear = &NAME(linear_kernels),
    .loss = &NAME(loss_kernels),
    .norm = &NAME(norm_kernels),
    .optim = &NAME(optim_kernels),
    .pool = &NAME(pool_kernels),
    .random = &NAME(random_kernels),
    .recurrent = &NAME(recurrent_kernels),
    .reduce = &NAME(reduce_kernels),
};
