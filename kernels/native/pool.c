#include "pool.h"
#include "simd.h"

const pool_kernels NAME(pool_kernels) = {0};
