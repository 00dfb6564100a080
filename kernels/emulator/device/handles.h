// Objects that the caller refers to by handles.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "refusal.h"

namespace device {

template <typename Object> class Handles {
  public:
    explicit Handles(const char* noun) : noun_(noun) {}

    template <typename Handle> Handle add(std::shared_ptr<Object> object) {
        Object* key = object.get();
        objects_[key] = std::move(object);
        return reinterpret_cast<Handle>(key);
    }

    /// The object of a handle. Refuses an invalid or destroyed handle.
    std::shared_ptr<Object> get(void* handle) const {
        const auto found = objects_.find(handle);
        require(found != objects_.end(), CUDA_ERROR_INVALID_HANDLE,
                std::string("there is no such ") + noun_);
        return found->second;
    }

    void remove(void* handle) {
        get(handle);
        objects_.erase(handle);
    }

  private:
    const char* noun_;
    std::unordered_map<void*, std::shared_ptr<Object>> objects_;
};

}  // namespace device
