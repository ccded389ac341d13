// What the stand-in libraries share.
#pragma once
#include <functional>

#define API extern "C" __attribute__((visibility("default")))
#define SHARED __attribute__((visibility("default")))

typedef int Status;  // hipError_t and the like
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONFIGURATION = 9, NO_DEVICE = 100, INVALID_DEVICE = 101,
       INVALID_IMAGE = 200, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, LAUNCH_FAILURE = 719, NOT_SUPPORTED = 801 };

// Do work in a stream: now, for streams here are synchronous, or in every launch of the graph that the stream records.
SHARED Status submit(void* stream, std::function<Status()> work);
