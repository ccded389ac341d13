// Elementwise arithmetic with broadcasting, and copies between strided views; contracts in backends/interface.py.
#pragma once
#include <stdint.h>

// Numbered as UNARY_OPS, BINARY_OPS and COMPARE_OPS in backends/interface.py.
enum unary_op { NEG, EXP, LOG, SQRT, SQUARE, ABS, SIGN, RECIPROCAL, SIN, COS };
enum binary_op { ADD, SUB, MUL, DIV, POW, MAXIMUM, MINIMUM };
enum compare_op { EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL };

typedef struct { // a C-contiguous array
    void *data;
    int rank;
    const intptr_t *shape;
} operand;

typedef struct { // any view; strides in bytes
    char *data;
    const intptr_t *stride;
} view;

typedef struct {
    void (*unary)(long n, const void *x, void *y, int op);
    void (*unary_backward)(long n, const void *dy, const void *x, const void *y, void *dx, int op);
    void (*binary)(operand a, operand b, operand y, int op);
    void (*compare)(operand a, operand b, operand y, int op);
    void (*select)(operand condition, operand a, operand b, operand y);
    void (*copy)(int rank, const intptr_t *shape, view x, view y, long item); // items of `item` bytes
} elementwise_kernels;
