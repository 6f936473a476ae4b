// Volumes held still for as long as this lives.
#pragma once

#include <utility>
#include <vector>

#include "clone/catalog.h"

namespace prism::fs {

class Pins {
 public:
  Pins(clone::Catalog& catalog, std::vector<clone::CatalogEntry> entries)
      : catalog_(catalog), entries_(std::move(entries)) {}
  ~Pins() { catalog_.Unpin(entries_); }
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  const clone::CatalogEntry& operator[](size_t index) const { return entries_[index]; }

 private:
  clone::Catalog& catalog_;
  const std::vector<clone::CatalogEntry> entries_;
};

}  // namespace prism::fs
