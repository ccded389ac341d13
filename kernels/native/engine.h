// One build of all kernels: an instruction set at one precision.
#pragma once
#include "activation.h"
#include "conv.h"
#include "elementwise.h"
#include "embedding.h"
#include "linear.h"
#include "loss.h"
#include "norm.h"
#include "optim.h"
#include "pool.h"
#include "random.h"
#include "recurrent.h"
#include "reduce.h"

typedef struct {
    const char *isa;
    void (*begin)(void); // before each call: pool_begin
    const activation_kernels *activation;
    const conv_kernels *conv;
    const elementwise_kernels *elementwise;
    const embedding_kernels *embedding;
    const linear_kernels *linear;
    const loss_kernels *loss;
    const norm_kernels *norm;
    const optim_kernels *optim;
    const pool_kernels *pool;
    const random_kernels *random;
    const recurrent_kernels *recurrent;
    const reduce_kernels *reduce;
} engine;

// The engine for 32 or 64 bit reals of the best instruction set this processor runs, or of the one named; NULL when
// that was not built or does not run here.
const engine *find_engine(int bits, const char *isa);
// The builds that run here, best first, separated by spaces.
const char *runnable_isas(void);
