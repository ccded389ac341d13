#include "conv.h"
#include "simd.h"

const conv_kernels NAME(conv_kernels) = {0};
