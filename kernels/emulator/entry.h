// The entry points of a kernel file, by name, for a caller whose arguments are bytes.
#pragma once

#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace emulator {

/// An argument from the caller: a number, or memory on the emulated device.
struct Argument {
    bool is_pointer;
    std::vector<unsigned char> number;
    void* memory;
};

/// One parameter of an entry point.
struct Parameter {
    bool is_pointer;
    size_t bytes;
    /// The required alignment of a pointer, in bytes.
    size_t alignment;
};

/// Whether a launch calls an entry point in each thread or once for the whole grid.
enum class Runs { PER_THREAD, ONCE };

class Entry {
  public:
    template <typename... Parameters>
    Entry(const char* name, unsigned threads, void (*kernel)(Parameters...),
          Runs runs = Runs::PER_THREAD)
        : name(name), threads(threads), runs(runs), parameters{describe<Parameters>()...},
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
    Runs runs;
    std::vector<Parameter> parameters;
    /// Returns a call with the arguments, or an empty function if an argument does not match its
    /// parameter.
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

    template <typename Type> static Parameter describe() {
        if constexpr (std::is_pointer_v<Type>) {
            return {true, sizeof(Type), alignof(std::remove_pointer_t<Type>)};
        } else {
            return {false, sizeof(Type), alignof(Type)};
        }
    }

    template <typename Type> static bool fits(const Argument& argument) {
        return argument.is_pointer == std::is_pointer_v<Type> &&
               (argument.is_pointer || argument.number.size() == sizeof(Type));
    }

    template <typename Type> static Type value(const Argument& argument) {
        if constexpr (std::is_pointer_v<Type>) {
            return static_cast<Type>(argument.memory);
        } else {
            Type number;
            std::memcpy(&number, argument.number.data(), sizeof number);
            return number;
        }
    }
};

}  // namespace emulator
