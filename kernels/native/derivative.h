// Gradients before activations whose derivative their output tells.
#pragma once
#include "activation.h"
#include "simd.h"

INLINE vec before_activation(const int kind, vec dy, vec y) {
    const vec zero = {0}, one = splat(1);
    switch (kind) {
    case ACT_RELU: return blend((ivec)(y > zero), dy, zero);
    case ACT_SIGMOID: return dy * y * (one - y);
    case ACT_TANH: return dy * (one - y * y);
    default: return dy;
    }
}
