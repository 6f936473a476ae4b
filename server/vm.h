// A virtual machine and the volumes that are attached to it: who it is, and what it may open.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fs/core/host.h"
#include "vrpc/server.h"

namespace prism::server {

inline constexpr size_t kVmVolumesMax = 1024;

// THREADS: any. Open is called by the lanes' keeper, the rest by the control plane.
class Vm {
 public:
  struct Volume {
    VolumeId id = 0;
    std::string name;  // by which it was attached
  };

  Vm(std::string name, uid_t uid, vrpc::Geometry geometry, std::vector<Volume> volumes = {})
      : name_(std::move(name)), uid_(uid), geometry_(geometry), volumes_(std::move(volumes)) {}

  const std::string& name() const { return name_; }
  uid_t uid() const { return uid_; }
  const vrpc::Geometry& geometry() const { return geometry_; }

  // What is kept in the store, and back. kCorrupt: it is no such row.
  std::string Row() const;
  static Outcome<std::shared_ptr<Vm>> FromRow(std::string name, std::string_view row);

  std::vector<Volume> volumes() const;
  void set_volumes(std::vector<Volume> volumes);

  // What a lane of the machine asks for: a volume that is attached, by its name or by the one that
  // it was attached by. kNoEntry: none of them has that name, whatever else is in the store.
  Outcome<std::shared_ptr<fs::FileSystem>> Open(fs::Host& host, const vrpc::OpenRequest& request);
  // The clients that opened one of these volumes and still have it.
  std::set<uint64_t> ClientsWith(const std::set<VolumeId>& volumes);

 private:
  struct Opened {
    uint64_t client;
    VolumeId volume;
    std::weak_ptr<fs::FileSystem> fs;
  };

  Outcome<VolumeId> Resolve(fs::Host& host, std::string_view name) const;  // REQUIRES: mutex_

  const std::string name_;
  const uid_t uid_;
  const vrpc::Geometry geometry_;

  mutable std::mutex mutex_;
  std::vector<Volume> volumes_;  // guarded by mutex_
  std::vector<Opened> opened_;   // guarded by mutex_
};

}  // namespace prism::server
