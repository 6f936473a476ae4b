// All that there is in a volume, by path: for comparisons that look at everything.
#pragma once

#include <map>
#include <string>

#include "fs/contract/file_system.h"

namespace prism::difftest {

struct File {
  fs::Attr attr;
  std::string content;  // or the target of a symlink
  std::map<std::string, std::string> xattrs;
};

std::map<std::string, File> ReadFiles(fs::FileSystem& volume);

bool SameContent(const File& a, const File& b);
bool SameAttributes(const File& a, const File& b);
bool SameFile(const File& a, const File& b);

}  // namespace prism::difftest
