// A stand-in for hipRTC, which is to CuPy on HIP what NVRTC is on CUDA. The "code object" that comes out is the path of a
// shared object which compile.py has g++ make.
#include "emulated.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

static const int COMPILATION = 6;

struct Program {
    std::string source, log, code;
    std::vector<std::string> expressions;
    std::map<std::string, std::string> names;
};

static std::string read(const std::string& path) {
    std::string text;
    if (FILE* file = fopen(path.c_str(), "rb")) {
        char buffer[4096];
        for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;) text.append(buffer, n);
        fclose(file);
    }
    return text;
}
static bool write(const std::string& path, const std::string& text) {
    FILE* file = fopen(path.c_str(), "wb");
    if (!file) return false;
    bool written = fwrite(text.data(), 1, text.size(), file) == text.size();
    return fclose(file) == 0 && written;
}

API const char* hiprtcGetErrorString(int error) { return error == COMPILATION ? "compilation failed" : "error"; }
API int hiprtcVersion(int* major, int* minor) { *major = 9; *minor = 0; return SUCCESS; }
API int hiprtcCreateProgram(Program** program, const char* source, const char*, int, const char**, const char**) {
    *program = new Program;
    (*program)->source = source;
    return SUCCESS;
}
API int hiprtcDestroyProgram(Program** program) { delete *program; *program = nullptr; return SUCCESS; }
API int hiprtcAddNameExpression(Program* program, const char* name) { program->expressions.push_back(name); return SUCCESS; }
API int hiprtcGetLoweredName(Program* program, const char* name, const char** lowered) {
    *lowered = program->names[name].c_str();
    return SUCCESS;
}
API int hiprtcCompileProgram(Program* program, int count, const char** options) {
    std::string request;
    for (int i = 0; i < count; i++) request += std::string("option ") + options[i] + "\n";
    for (auto& expression : program->expressions) request += "export " + expression + "\n";
    char key[17];
    snprintf(key, sizeof key, "%016zx", std::hash<std::string>{}(program->source + "\n" + request));
    std::string base = std::string(getenv("EMULATED_CACHE")) + "/" + key;
    if (!write(base + ".cu", program->source) || !write(base + ".request", request)) {
        program->log = "cannot write " + base;
        return COMPILATION;
    }
    int status = system((std::string(getenv("EMULATED_COMPILER")) + " " + base + " >" + base + ".log 2>&1").c_str());
    program->log = read(base + ".log");
    if (status) return COMPILATION;
    program->code = "emulated:" + base + ".so";
    for (size_t i = 0; i < program->expressions.size(); i++)
        program->names[program->expressions[i]] = "e" + std::to_string(i);
    return SUCCESS;
}
API int hiprtcGetCodeSize(Program* program, size_t* size) { *size = program->code.size() + 1; return SUCCESS; }
API int hiprtcGetCode(Program* program, char* code) { memcpy(code, program->code.c_str(), program->code.size() + 1); return SUCCESS; }
API int hiprtcGetBitcodeSize(Program* program, size_t* size) { return hiprtcGetCodeSize(program, size); }
API int hiprtcGetBitcode(Program* program, char* code) { return hiprtcGetCode(program, code); }
API int hiprtcGetProgramLogSize(Program* program, size_t* size) { *size = program->log.size() + 1; return SUCCESS; }
API int hiprtcGetProgramLog(Program* program, char* log) { memcpy(log, program->log.c_str(), program->log.size() + 1); return SUCCESS; }
