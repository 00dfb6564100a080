#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "refusal.h"
#include "settings.h"

namespace device {
namespace {

constexpr size_t PAGE_BYTES = 4096;
constexpr size_t ALIGNMENT = 256;
constexpr size_t ARENA_BYTES = size_t(1) << 42;
/// Fills memory with NaNs, as 16-bit and as 32-bit floats.
constexpr unsigned char FRESH = 0xff;

size_t round_up(size_t bytes, size_t multiple) {
    return (bytes + multiple - 1) / multiple * multiple;
}

Address first_page(const Allocation& allocation) {
    return allocation.begin / PAGE_BYTES * PAGE_BYTES;
}

Address last_page_end(const Allocation& allocation) {
    return round_up(allocation.end(), PAGE_BYTES);
}

bool is_fresh(Address from, Address to) {
    for (Address at = from; at < to; ++at) {
        if (*reinterpret_cast<const unsigned char*>(at) != FRESH) {
            return false;
        }
    }
    return true;
}

}  // namespace

Memory& Memory::instance() {
    static auto& memory = *new Memory;
    return memory;
}

Memory::Memory() : total_bytes_(Settings::instance().memory_bytes) {
    void* arena =
        mmap(nullptr, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(arena != MAP_FAILED, CUDA_ERROR_OUT_OF_MEMORY, "the host has no addresses to spare");
    arena_ = reinterpret_cast<Address>(arena);
    next_ = arena_ + PAGE_BYTES;
}

Address Memory::allocate(size_t bytes, Place place) {
    if (place == Place::DEVICE) {
        require(bytes <= free_bytes(), CUDA_ERROR_OUT_OF_MEMORY,
                std::to_string(bytes) + " bytes are wanted, " + std::to_string(free_bytes()) +
                    " are free");
    }
    const size_t mapped = round_up(round_up(bytes, ALIGNMENT), PAGE_BYTES);
    require(next_ + mapped + PAGE_BYTES <= arena_ + ARENA_BYTES, CUDA_ERROR_OUT_OF_MEMORY,
            "all addresses have been given out once");
    void* pages = reinterpret_cast<void*>(next_);
    require(mprotect(pages, mapped, PROT_READ | PROT_WRITE) == 0, CUDA_ERROR_OUT_OF_MEMORY,
            "the host has no memory, or too many pieces of it");
    std::memset(pages, FRESH, mapped);
    const Address begin = next_ + mapped - round_up(bytes, ALIGNMENT);
    next_ += mapped + PAGE_BYTES;
    allocations_[begin] = {begin, bytes, place, false};
    used_bytes_ += place == Place::DEVICE ? bytes : 0;
    return begin;
}

void Memory::free(Address begin, Place place) {
    const auto found = allocations_.find(begin);
    require(found != allocations_.end() && found->second.place == place, CUDA_ERROR_INVALID_VALUE,
            "no allocation begins at " + describe(begin));
    require(!found->second.is_freed, CUDA_ERROR_INVALID_VALUE, "it was freed before");
    found->second.is_freed = true;
    used_bytes_ -= place == Place::DEVICE ? found->second.bytes : 0;
}

void Memory::unmap(Address begin) {
    const Allocation& allocation = allocations_.at(begin);
    check_surroundings(begin, "somebody");
    const Address from = first_page(allocation);
    void* pages = reinterpret_cast<void*>(from);
    const size_t bytes = last_page_end(allocation) - from;
    madvise(pages, bytes, MADV_DONTNEED);
    mprotect(pages, bytes, PROT_NONE);
}

const Allocation* Memory::find(Address address) const {
    auto after = allocations_.upper_bound(address);
    if (after == allocations_.begin()) {
        return nullptr;
    }
    const Allocation& allocation = (--after)->second;
    return address < allocation.end() ? &allocation : nullptr;
}

void Memory::require_live(Address address, size_t bytes, Place place,
                          const std::string& what) const {
    const Allocation* allocation = find(address);
    const bool is_live =
        allocation != nullptr && allocation->place == place && !allocation->is_freed;
    require(is_live, CUDA_ERROR_ILLEGAL_ADDRESS,
            what + " is not in live memory: " + describe(address));
    require(address + bytes <= allocation->end(), CUDA_ERROR_ILLEGAL_ADDRESS,
            what + " has " + std::to_string(bytes) + " bytes, too many for " + describe(address));
}

void Memory::check_surroundings(Address address, const std::string& writer) const {
    const Allocation* allocation = find(address);
    if (allocation == nullptr) {
        return;
    }
    const bool is_before = !is_fresh(first_page(*allocation), allocation->begin);
    const bool is_behind = !is_fresh(allocation->end(), last_page_end(*allocation));
    if (is_before || is_behind) {
        say(writer.c_str(),
            std::string("wrote ") + (is_before ? "before " : "behind ") + describe(address));
        std::_Exit(1);
    }
}

std::string Memory::describe(Address address) const {
    if (!is_within_arena(address)) {
        return "address " + std::to_string(address) + ", which is not of this device";
    }
    // The nearest allocation below, because most errors run past the end of an allocation.
    auto after = allocations_.upper_bound(address);
    if (after == allocations_.begin()) {
        return "an address before all allocations";
    }
    const Allocation& allocation = (--after)->second;
    return "byte " + std::to_string(address - allocation.begin) + " of an allocation of " +
           std::to_string(allocation.bytes) + " bytes" +
           (allocation.is_freed ? ", which is freed" : "");
}

bool Memory::is_within_arena(Address address) const {
    return address >= arena_ && address < arena_ + ARENA_BYTES;
}

}  // namespace device
