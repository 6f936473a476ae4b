// Volumes that nobody finds by name, for as long as this lives.
#pragma once

#include <utility>
#include <vector>

#include "clone/catalog.h"

namespace prism::fs {

// Pins, or the unborn. Destroys them at its end, unless they have been revealed.
class HiddenVolumes {
 public:
  HiddenVolumes(clone::Catalog& catalog, std::vector<clone::CatalogEntry> entries)
      : catalog_(catalog), entries_(std::move(entries)) {}
  ~HiddenVolumes() {
    if (!entries_.empty()) catalog_.Unpin(entries_);
  }
  HiddenVolumes(const HiddenVolumes&) = delete;
  HiddenVolumes& operator=(const HiddenVolumes&) = delete;

  const std::vector<clone::CatalogEntry>& entries() const { return entries_; }
  const clone::CatalogEntry& operator[](size_t index) const { return entries_[index]; }
  // This one too from now on.
  void Add(clone::CatalogEntry entry) { entries_.push_back(std::move(entry)); }
  void Revealed() { entries_.clear(); }

 private:
  clone::Catalog& catalog_;
  std::vector<clone::CatalogEntry> entries_;
};

}  // namespace prism::fs
