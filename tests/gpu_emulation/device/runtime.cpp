// A stand-in for the HIP runtime: memory, streams, events, modules and graphs of a device that is this CPU.
//
// Kernels are shared objects that compiler.cpp had g++ make from CUDA source (../cudashim.h). Streams are synchronous. Each
// allocation ends at a page that must not be touched and holds 0xFF bytes, NaN for reals. EMULATED_DEVICES says how many
// devices there are (1), EMULATED_SCHEDULE in which order threads run (0 forward, 1 reversed, 2 random).
#include "emulated.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

static int number_from(const char* variable, int otherwise) {
    const char* text = getenv(variable);
    return text && *text ? atoi(text) : otherwise;
}

static Status last_error;
static Status fail(Status error) { return last_error = error; }

API const char* hipGetErrorName(Status error) {
    switch (error) {
        case SUCCESS: return "hipSuccess";
        case INVALID_VALUE: return "hipErrorInvalidValue";
        case OUT_OF_MEMORY: return "hipErrorOutOfMemory";
        case INVALID_CONFIGURATION: return "hipErrorInvalidConfiguration";
        case NO_DEVICE: return "hipErrorNoDevice";
        case INVALID_DEVICE: return "hipErrorInvalidDevice";
        case INVALID_IMAGE: return "hipErrorInvalidImage";
        case NOT_FOUND: return "hipErrorNotFound";
        case ILLEGAL_ADDRESS: return "hipErrorIllegalAddress";
        case LAUNCH_FAILURE: return "hipErrorLaunchFailure";
        case NOT_SUPPORTED: return "hipErrorNotSupported";
    }
    return "hipErrorUnknown";
}
API const char* hipGetErrorString(Status error) { return hipGetErrorName(error); }
API Status hipGetLastError() { Status error = last_error; last_error = SUCCESS; return error; }
API Status hipPeekAtLastError() { return last_error; }

// ---- devices --------------------------------------------------------------------------------------------------------

static const size_t MEMORY = 8ull << 30, SHARED_MEMORY = 48 << 10;
static int current_device;
static int devices() { return number_from("EMULATED_DEVICES", 1); }

API Status hipGetDeviceCount(int* count) { *count = devices(); return *count ? SUCCESS : fail(NO_DEVICE); }
API Status hipGetDevice(int* device) { *device = current_device; return SUCCESS; }
API Status hipSetDevice(int device) {
    if (device < 0 || device >= devices()) return fail(INVALID_DEVICE);
    current_device = device;
    return SUCCESS;
}
API Status hipDeviceSynchronize() { return SUCCESS; }
API Status hipDriverGetVersion(int* version) { *version = 70051831; return SUCCESS; }
API Status hipRuntimeGetVersion(int* version) { *version = 70051831; return SUCCESS; }
API Status hipDeviceGetLimit(size_t* value, int) { *value = 0; return SUCCESS; }
API Status hipDeviceCanAccessPeer(int* can, int, int) { *can = 0; return SUCCESS; }

API Status hipDeviceGetAttribute(int* value, int attribute, int) {
    static const std::map<int, int> known = {
        {23, 8}, {61, 0},                                     // compute capability
        {26, 1024}, {27, 1024}, {28, 64}, {56, 1024},         // threads of a block
        {29, 2147483647}, {30, 65535}, {31, 65535},           // blocks of a grid
        {63, 8}, {74, (int)SHARED_MEMORY}, {87, 32},          // processors, shared memory, lanes of a warp
    };
    auto found = known.find(attribute);
    *value = found == known.end() ? 0 : found->second;
    return SUCCESS;
}

API Status hipGetDevicePropertiesR0600(char* properties, int) {  // hipDeviceProp_tR0600, by the offsets of its members
    memset(properties, 0, 1472);
    strcpy(properties, "emulated on the CPU");
    auto number = [&](int offset) -> int& { return *(int*)(properties + offset); };
    *(size_t*)(properties + 288) = MEMORY;
    *(size_t*)(properties + 296) = SHARED_MEMORY;
    number(304) = 65536;  // registers of a block
    number(308) = 32;
    number(320) = 1024;
    int sizes[6] = {1024, 1024, 64, 2147483647, 65535, 65535};
    memcpy(properties + 324, sizes, sizeof sizes);
    number(360) = 8;
    return SUCCESS;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

static const size_t PAGE = 4096;
struct Block { size_t size; int device; };
static std::map<uintptr_t, Block> blocks;
static size_t used;

static size_t up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

API Status hipMalloc(void** pointer, size_t size) {
    size_t inside = up(size, PAGE);
    if (used + size > MEMORY) return fail(OUT_OF_MEMORY);
    char* base = (char*)mmap(0, inside + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return fail(OUT_OF_MEMORY);
    mprotect(base + PAGE, inside, PROT_READ | PROT_WRITE);
    memset(base + PAGE, 0xFF, inside);
    *pointer = base + PAGE + inside - up(size, 16);
    blocks[(uintptr_t)*pointer] = {size, current_device};
    used += size;
    return SUCCESS;
}
API Status hipFree(void* pointer) {
    if (!pointer) return SUCCESS;
    auto found = blocks.find((uintptr_t)pointer);
    if (found == blocks.end()) return fail(INVALID_VALUE);
    size_t size = found->second.size, inside = up(size, PAGE);
    munmap((char*)pointer + up(size, 16) - inside - PAGE, inside + 2 * PAGE);
    used -= size;
    blocks.erase(found);
    return SUCCESS;
}
API Status hipHostMalloc(void** pointer, size_t size, unsigned) { *pointer = malloc(size ? size : 1); return SUCCESS; }
API Status hipHostFree(void* pointer) { free(pointer); return SUCCESS; }
API Status hipMemGetInfo(size_t* left, size_t* total) { *total = MEMORY; *left = MEMORY - used; return SUCCESS; }

API Status hipMemcpy(void* to, const void* from, size_t size, int) { memmove(to, from, size); return SUCCESS; }
API Status hipMemcpyAsync(void* to, const void* from, size_t size, int, void* stream) {
    return submit(stream, [=] { memmove(to, from, size); return SUCCESS; });
}
API Status hipMemset(void* to, int value, size_t size) { memset(to, value, size); return SUCCESS; }
API Status hipMemsetAsync(void* to, int value, size_t size, void* stream) {
    return submit(stream, [=] { memset(to, value, size); return SUCCESS; });
}

struct PointerAttributes { int type, device; void *device_pointer, *host_pointer; int managed; unsigned flags; };
API Status hipPointerGetAttributes(PointerAttributes* attributes, const void* pointer) {
    memset(attributes, 0, sizeof *attributes);
    auto next = blocks.upper_bound((uintptr_t)pointer);
    if (next == blocks.begin()) return SUCCESS;
    auto& [start, block] = *--next;
    if ((uintptr_t)pointer < start + block.size)
        *attributes = {2, block.device, (void*)pointer, nullptr, 0, 0};
    return SUCCESS;
}

// ---- streams, graphs, events ----------------------------------------------------------------------------------------

typedef std::vector<std::function<Status()>> Work;
struct Stream { std::unique_ptr<Work> recorded; };  // null but while it is captured

Status submit(void* stream, std::function<Status()> work) {
    if (stream && (uintptr_t)stream > 2 && ((Stream*)stream)->recorded) {
        ((Stream*)stream)->recorded->push_back(work);
        return SUCCESS;
    }
    Status status = work();
    return status ? fail(status) : status;
}

API Status hipStreamCreate(Stream** stream) { *stream = new Stream; return SUCCESS; }
API Status hipStreamCreateWithFlags(Stream** stream, unsigned) { return hipStreamCreate(stream); }
API Status hipStreamCreateWithPriority(Stream** stream, unsigned, int) { return hipStreamCreate(stream); }
API Status hipStreamDestroy(Stream* stream) { delete stream; return SUCCESS; }
API Status hipStreamSynchronize(void*) { return SUCCESS; }
API Status hipStreamQuery(void*) { return SUCCESS; }
API Status hipStreamWaitEvent(void*, void*, unsigned) { return SUCCESS; }
API Status hipStreamGetFlags(void*, unsigned* flags) { *flags = 0; return SUCCESS; }
API Status hipStreamGetPriority(void*, int* priority) { *priority = 0; return SUCCESS; }
API Status hipStreamBeginCapture(Stream* stream, int) {
    if (getenv("EMULATED_NO_CAPTURE")) return fail(NOT_SUPPORTED);
    stream->recorded.reset(new Work);
    return SUCCESS;
}
API Status hipStreamEndCapture(Stream* stream, Work** graph) { *graph = stream->recorded.release(); return SUCCESS; }
API Status hipStreamIsCapturing(Stream* stream, int* capturing) {
    *capturing = (uintptr_t)stream > 2 && stream->recorded;
    return SUCCESS;
}
API Status hipGraphInstantiate(Work** executable, Work* graph, void*, char*, size_t) {
    *executable = new Work(*graph);
    return SUCCESS;
}
API Status hipGraphLaunch(Work* executable, void* stream) {
    for (auto& work : *executable)
        if (Status status = submit(stream, work)) return status;
    return SUCCESS;
}
API Status hipGraphDestroy(Work* graph) { delete graph; return SUCCESS; }
API Status hipGraphExecDestroy(Work* executable) { delete executable; return SUCCESS; }

struct Event { double milliseconds; };
API Status hipEventCreate(Event** event) { *event = new Event{0}; return SUCCESS; }
API Status hipEventCreateWithFlags(Event** event, unsigned) { return hipEventCreate(event); }
API Status hipEventDestroy(Event* event) { delete event; return SUCCESS; }
API Status hipEventRecord(Event* event, void*) {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->milliseconds = now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
    return SUCCESS;
}
API Status hipEventSynchronize(Event*) { return SUCCESS; }
API Status hipEventQuery(Event*) { return SUCCESS; }
API Status hipEventElapsedTime(float* milliseconds, Event* from, Event* to) {
    *milliseconds = to->milliseconds - from->milliseconds;
    return SUCCESS;
}

// ---- modules --------------------------------------------------------------------------------------------------------

struct Function {
    int (*run)(const unsigned* dims, unsigned shared, void** arguments, int schedule, unsigned seed, char* message);
    std::string name;
    std::vector<size_t> sizes;  // of its parameters
};

API Status hipModuleLoadData(void** module, const char* image) {  // the path of a shared object, see compiler.cpp
    if (strncmp(image, "emulated:", 9)) return fail(INVALID_IMAGE);
    *module = dlopen(image + 9, RTLD_NOW | RTLD_LOCAL);
    if (!*module) fprintf(stderr, "emulated device: %s\n", dlerror());
    return *module ? SUCCESS : fail(INVALID_IMAGE);
}
API Status hipModuleUnload(void*) { return SUCCESS; }
API Status hipModuleGetFunction(Function** function, void* module, const char* name) {
    void* run = dlsym(module, (std::string("cs_launch_") + name).c_str());
    auto signature = (const char* (*)())dlsym(module, (std::string("cs_sig_") + name).c_str());
    if (!run || !signature) return fail(NOT_FOUND);
    std::vector<size_t> sizes;  // "Pf4,i8": pointers, or the letter of a type and its size
    for (const char* code = signature(); *code;) {
        sizes.push_back(*code == 'P' ? 8 : *code == '?' ? 1 : atoi(code + 1));
        while (*code && *code++ != ',') {}
    }
    *function = new Function{(decltype(Function::run))run, name, sizes};
    return SUCCESS;
}
API Status hipModuleGetGlobal(void** pointer, size_t* size, void* module, const char* name) {
    *size = 0;
    *pointer = dlsym(module, name);
    return *pointer ? SUCCESS : fail(NOT_FOUND);
}
API Status hipFuncGetAttribute(int* value, int attribute, void*) { *value = attribute == 0 ? 1024 : 0; return SUCCESS; }

API Status hipModuleLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                 unsigned bz, unsigned shared, void* stream, void** arguments, void**) {
    if (shared > SHARED_MEMORY) return fail(INVALID_VALUE);
    std::vector<std::vector<char>> values;  // a graph launches with what the arguments are now
    for (size_t i = 0; i < function->sizes.size(); i++)
        values.emplace_back((char*)arguments[i], (char*)arguments[i] + function->sizes[i]);
    return submit(stream, [=]() -> Status {
        static unsigned launches = 0;
        static const int schedule = number_from("EMULATED_SCHEDULE", 0);
        unsigned dims[6] = {gx, gy, gz, bx, by, bz};
        char message[512];
        std::vector<void*> pointers;
        for (auto& value : values) pointers.push_back((void*)value.data());
        if (!function->run(dims, shared, pointers.data(), schedule, launches++, message)) return SUCCESS;
        fprintf(stderr, "emulated device: %s: %s\n", function->name.c_str(), message);
        return LAUNCH_FAILURE;
    });
}

// CuPy brings some kernels as machine code of AMD GPUs (thrust, cub, rocRAND). They must not seem to run.
struct Dim3 { unsigned x, y, z; };
API void** __hipRegisterFatBinary(void*) { static void* handle; return &handle; }
API void __hipRegisterFunction(void**, const void*, char*, const char*, unsigned, void*, void*, void*, void*, int*) {}
API void __hipUnregisterFatBinary(void**) {}
API Status __hipPushCallConfiguration(Dim3, Dim3, size_t, void*) { return SUCCESS; }
API Status __hipPopCallConfiguration(Dim3*, Dim3*, size_t*, void**) { return SUCCESS; }
API Status hipLaunchKernel(const void*, Dim3, Dim3, void**, size_t, void*) {
    fprintf(stderr, "emulated device: a kernel that CuPy brings compiled for AMD GPUs cannot run\n");
    abort();
}
