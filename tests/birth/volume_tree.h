// An empty volume of the reference model, and short words for making and reading files in it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tests/model/model_host.h"

namespace prism::birth {

class VolumeTree {
 public:
  VolumeTree();
  fs::FileSystem& operator*() { return *fs_; }
  model::ModelHost& host() { return host_; }

  // The directories on the way are made; what is there is replaced.
  void Put(std::string_view path, std::string_view content);
  void PutLink(std::string_view path, std::string_view target);
  void MakeDirs(std::string_view path) { (void)DirOf(std::string(path) + "/x"); }
  // Of a file; of what is not there "(none)", of anything else "(other)".
  std::string Get(std::string_view path);
  fs::Attr AttrOf(std::string_view path);

 private:
  InodeId DirOf(std::string_view path);

  model::ModelHost host_;
  std::shared_ptr<fs::FileSystem> fs_;
};

}  // namespace prism::birth
