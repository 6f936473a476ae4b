// How gtest shows attributes. Included before they are compared.
#pragma once

#include <fmt/format.h>

#include <ostream>

#include "fs/contract/attr.h"

namespace prism::fs {

inline void PrintTo(const Timespec& time, std::ostream* out) {
  *out << fmt::format("{}.{:09}", time.sec, time.nsec);
}

inline void PrintTo(const Attr& attr, std::ostream* out) {
  *out << fmt::format("ino {} type {} mode {:o} nlink {} uid {} gid {} size {} used {} rdev {}:{}",
                      attr.ino, static_cast<int>(attr.type), attr.mode, attr.nlink, attr.uid,
                      attr.gid, attr.size, attr.used_bytes, attr.rdev_major, attr.rdev_minor);
  for (const Timespec& time : {attr.atime, attr.mtime, attr.ctime, attr.btime}) {
    *out << " ";
    PrintTo(time, out);
  }
  *out << " change " << attr.change;
}

}  // namespace prism::fs
