// Device memory and page-locked host memory. Both are ordinary host memory.
//
// An allocation begins at a multiple of 256 bytes, as with cudaMalloc, and ends as close as possible to
// a guard page. No address is ever reused. So an access past an allocation's pages, or after it is
// freed, causes a fault, which fault.cpp reports. The rest of its pages, before and after it, is filled
// with NaNs and is checked after every launch that uses the allocation. This works without the address
// sanitizer, whose runtime would have to be loaded into the whole program. The sanitizer would detect
// more errors in the kernels' own arrays; the kernels' own tests use it.
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
    /// New work must not use it. Work that was queued before may still use it.
    bool is_freed;

    Address end() const { return begin + bytes; }
};

class Memory {
  public:
    static Memory& instance();

    /// Allocates memory filled with NaNs. Refuses if the device has not enough memory.
    Address allocate(size_t bytes, Place place);
    /// Makes an allocation unusable for new work. `unmap` makes it unusable for all work.
    void free(Address begin, Place place);
    void unmap(Address begin);

    /// The allocation that contains the address, freed or not; null if there is none.
    const Allocation* find(Address address) const;
    /// Refuses bytes that are not entirely in one live allocation of this place.
    void require_live(Address address, size_t bytes, Place place, const std::string& what) const;
    /// Ends the program if the memory around the allocation of an address has been overwritten.
    void check_surroundings(Address address, const std::string& writer) const;

    /// Describes the location of an address.
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
    /// By start address. Freed allocations are kept for messages.
    std::map<Address, Allocation> allocations_;
};

}  // namespace device
