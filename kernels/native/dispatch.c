// Chooses a build by what the processor says of itself; compiled once.
#include "engine.h"
#include <string.h>
#if defined(AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

extern const engine engine_baseline_f32, engine_baseline_f64;

static int always(void) { return 1; }

#if defined(__x86_64__)
extern const engine engine_avx2_f32, engine_avx2_f64, engine_avx512_f32;
#if defined(AMX)
extern const engine engine_amx_f32;
#endif
#if defined(WIDE)
extern const engine engine_wide_f32;
#endif
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

#if defined(AMX)
// Linux lends the tiles' registers to a process that asks for them (Documentation/arch/x86/xstate.rst).
static int has_amx(void) {
    unsigned a, b, c, d = 0;
    const unsigned bf16 = 1u << 22, tile = 1u << 24;
    if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & bf16) || !(d & tile)) return 0;
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}
#endif
#endif

// Best first; `wide`, which is there for tests, only when it is named. Double serves for checking and has no 512-bit build of
// its own.
static const struct {
    const char *isa;
    int (*runs)(void);
    const engine *f32, *f64;
} builds[] = {
#if defined(__x86_64__)
#if defined(AMX)
    {"amx", has_amx, &engine_amx_f32, &engine_avx2_f64},
#endif
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
