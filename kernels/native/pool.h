#pragma once
typedef struct {
    int placeholder;
} pool_kernels;
