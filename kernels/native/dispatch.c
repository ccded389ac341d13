// Chooses a build by what the processor says of itself; compiled once.
#include "engine.h"
#include <string.h>

extern const engine engine_baseline_f32, engine_baseline_f64;

static int always(void) { return 1; }

#if defined(__x86_64__)
extern const engine engine_avx2_f32, engine_avx2_f64, engine_avx512_f32;
#if defined(WIDE)
extern const engine engine_wide_f32;
#endif
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

// Best first; `wide`, which is there for tests, only when it is named. Double serves for checking and has no 512-bit build of
// its own.
static const struct {
    const char *isa;
    int (*runs)(void);
    const engine *f32, *f64;
} builds[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, &engine_avx512_f32, &engine_avx2_f64},
    {"avx2", has_avx2, &engine_avx2_f32, &engine_avx2_f64},
#endif
    {"baseline", always, &engine_baseline_f32, &engine_baseline_f64},
#if defined(WIDE)
    {"wide", has_avx2, &engine_wide_f32, &engine_avx2_f64},
#endif
};
enum { BUILDS = sizeof builds / sizeof builds[0] };

const engine *find_engine(int bits, const char *isa) {
    for (int i = 0; i < BUILDS; i++)
        if ((!isa || !strcmp(isa, builds[i].isa)) && builds[i].runs()) return bits == 32 ? builds[i].f32 : builds[i].f64;
    return NULL;
}

const char *runnable_isas(void) {
    static char names[64];
    names[0] = 0;
    for (int i = 0; i < BUILDS; i++)
        if (builds[i].runs()) {
            if (names[0]) strcat(names, " ");
            strcat(names, builds[i].isa);
        }
    return names;
}
