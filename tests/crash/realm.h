// What one thread of a test works in (a directory below the root of a volume), as expected.
//
// A thread's operations are sequential and all succeed, so the state after n of them is known. The
// same type holds what was found in a store, under the inode numbers there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "fs/contract/attr.h"
#include "tests/crash/content.h"
#include "tests/crash/op.h"

namespace prism::crash {

using ObjectId = uint64_t;

struct Object {
  fs::FileType type = fs::FileType::kRegular;
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;                 // filled in where it was found; counted where it is expected
  std::optional<fs::Timespec> mtime;  // absent: anything, because only the server's clock knows it
  std::string target;                 // of a symlink
  std::map<std::string, std::string> xattrs;
  Content content;
};

struct Realm {
  std::map<std::string, ObjectId> names;  // paths, from the volume's root
  std::map<ObjectId, Object> objects;
  ObjectId next_object = 1;

  // Performs one operation. Returns the file whose data it changed, 0: none.
  ObjectId Apply(const Op& op);

  Object* Find(std::string_view path);
  bool IsEmptyDirectory(const std::string& path) const;

 private:
  ObjectId Create(const Op& op);
  ObjectId ChangeData(const Op& op);
  void ChangeNames(const Op& op);
  static void ChangeAttributes(const Op& op, Object& object);
  void AddName(const std::string& path, ObjectId id);
  void RemoveName(const std::string& path);
  void Move(const std::string& from, const std::string& to);
  void TouchParent(const std::string& path);
};

using Volume = std::map<std::string, Realm>;  // by the name of the directory
using Store = std::map<std::string, Volume>;  // by the name of the volume

// Names, types and attributes, but not the bytes of files. Empty: they agree; else what differs.
std::string CompareMetadata(const Realm& expected, const Realm& found);

std::string EncodeStore(const Store& store);
bool DecodeStore(std::string_view bytes, Store& store);

}  // namespace prism::crash
