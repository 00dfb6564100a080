#include "settings.h"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace device {
namespace {

[[noreturn]] void fail(const std::string& problem) {
    std::fprintf(stderr, "emulated device: %s\n", problem.c_str());
    std::_Exit(1);
}

Settings read() {
    Settings settings = {false, size_t(2048) << 20};
    if (const char* mode = std::getenv("FARTHING_EMULATED_DEVICE")) {
        settings.is_late = std::string(mode) == "late";
        if (!settings.is_late && std::string(mode) != "eager") {
            fail(std::string("FARTHING_EMULATED_DEVICE must be eager or late, it is ") + mode);
        }
    }
    if (const char* mib = std::getenv("FARTHING_EMULATED_MEMORY_MIB")) {
        char* end = nullptr;
        const unsigned long number = std::strtoul(mib, &end, 10);
        if (*mib == 0 || *end != 0) {
            fail(std::string("FARTHING_EMULATED_MEMORY_MIB must be a number, it is ") + mib);
        }
        settings.memory_bytes = size_t(number) << 20;
    }
    return settings;
}

}  // namespace

const Settings& Settings::instance() {
    static const Settings settings = read();
    return settings;
}

}  // namespace device
