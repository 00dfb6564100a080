// The device's memory, and the page-locked memory of the host: parts of the host's own.
//
// An allocation begins at a multiple of 256 bytes, as cudaMalloc's do, and ends as close as that
// allows before a page that nobody may touch; no address is ever given out twice. So whatever runs
// past an allocation's pages, or comes after it is freed, is a fault that fault.cpp tells of. What
// is left of its pages before and behind it is full of NaNs, and looked at after every launch that
// was given the allocation. This needs nothing of the address sanitizer, whose runtime would have to
// be loaded under all of the program; it would see more of the kernels' own arrays, and the kernels'
// own tests have it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace device {

using Address = uintptr_t;

enum class Place { DEVICE, HOST };

struct Allocation {
    Address begin;
    size_t bytes;
    Place place;
    /// No new work may use it; what was queued before still does.
    bool is_freed;

    Address end() const { return begin + bytes; }
};

class Memory {
  public:
    static Memory& instance();

    /// Memory full of NaNs. Refuses where the device has no more.
    Address allocate(size_t bytes, Place place);
    /// Makes an allocation unusable for what comes now; `unmap` makes it unusable for all.
    void free(Address begin, Place place);
    void unmap(Address begin);

    /// The allocation that holds the address, freed or not; null where none does.
    const Allocation* find(Address address) const;
    /// Refuses bytes that are not all in one live allocation of this place.
    void require_live(Address address, size_t bytes, Place place, const std::string& what) const;
    /// Ends the program where something was written beside the allocation of an address.
    void check_surroundings(Address address, const std::string& writer) const;

    /// Where an address lies, in words.
    std::string describe(Address address) const;
    bool is_within_arena(Address address) const;

    size_t total_bytes() const { return total_bytes_; }
    size_t free_bytes() const { return total_bytes_ - used_bytes_; }

  private:
    Memory();

    Address arena_;
    Address next_;
    size_t total_bytes_;
    size_t used_bytes_ = 0;
    /// By where they begin. Freed ones stay, for messages.
    std::map<Address, Allocation> allocations_;
};

}  // namespace device
