// The entry points of a kernel file, by name, for a caller that sends arguments as bytes.
#pragma once

#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace emulator {

/// An argument as it came: a number, or memory on the emulated device.
struct Argument {
    bool is_pointer;
    std::vector<unsigned char> number;
    void* memory;
};

class Entry {
  public:
    template <typename... Parameters>
    Entry(const char* name, unsigned threads, void (*kernel)(Parameters...))
        : name(name), threads(threads), arity(sizeof...(Parameters)),
          bind([kernel](const std::vector<Argument>& arguments) {
              return bind_all(kernel, arguments, std::index_sequence_for<Parameters...>());
          }) {
        all().push_back(this);
    }

    static std::vector<const Entry*>& all() {
        static std::vector<const Entry*> entries;
        return entries;
    }

    const char* name;
    unsigned threads;
    size_t arity;
    /// A call with the arguments; an empty function where one doesn't fit its parameter.
    std::function<std::function<void()>(const std::vector<Argument>&)> bind;

  private:
    template <typename... Parameters, size_t... INDICES>
    static std::function<void()> bind_all(
        void (*kernel)(Parameters...), const std::vector<Argument>& arguments,
        std::index_sequence<INDICES...>) {
        if (!(fits<Parameters>(arguments[INDICES]) && ...)) {
            return {};
        }
        const auto values = std::make_tuple(value<Parameters>(arguments[INDICES])...);
        return [kernel, values] { std::apply(kernel, values); };
    }

    template <typename Parameter> static bool fits(const Argument& argument) {
        return argument.is_pointer == std::is_pointer_v<Parameter> &&
               (argument.is_pointer || argument.number.size() == sizeof(Parameter));
    }

    template <typename Parameter> static Parameter value(const Argument& argument) {
        if constexpr (std::is_pointer_v<Parameter>) {
            return static_cast<Parameter>(argument.memory);
        } else {
            Parameter number;
            std::memcpy(&number, argument.number.data(), sizeof number);
            return number;
        }
    }
};

}  // namespace emulator
