#pragma once
typedef struct {
    int placeholder;
} conv_kernels;
