// What the fleet benchmark compares: ways to give each of many machines a copy of one tree.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace prism::bench {

// One of them, holding the tree "base". Ends the benchmark (Die) on any error. For one thread.
class FleetSystem {
 public:
  virtual ~FleetSystem() = default;
  virtual std::string name() const = 0;

  // A writable copy of "base" or of another copy, by the system's call. Unless it is said otherwise
  // where the figures are printed, the copy is on disk when this returns.
  virtual void Clone(const std::string& source, const std::string& target) = 0;
  // The same by the program that a user would call; false: there is none but the call above is one.
  virtual bool CloneByCommand(const std::string& source, const std::string& target) = 0;
  // As many as are named; in one call where the system has one.
  virtual void CloneMany(const std::string& source, const std::vector<std::string>& targets);
  // The directory in which the copy's files can be used until Close: mounts what must be mounted.
  virtual std::string Open(const std::string& name) = 0;
  virtual void Close(const std::string& name) = 0;
  // Of closed copies, each without copies of its own.
  virtual void Destroy(const std::vector<std::string>& names) = 0;
  // How many copies of copies there can be; a mount's or a program's own limit.
  virtual int DepthLimit() const { return 1 << 20; }
  // Bytes of the disk in use, everything being written.
  virtual uint64_t UsedBytes() = 0;
  // Nothing is in its caches but what the kernel's hold: its servers are new.
  virtual void Restart() {}
};

// `disk` is the directory of an ext4, `work` the one with the mount points "btrfs" and "xfs", and
// hooks (fleet_bench.sh).
std::unique_ptr<FleetSystem> MakePrismSystem(const std::string& work, const std::string& prism,
                                             const std::string& control);
std::unique_ptr<FleetSystem> MakeBtrfsSystem(const std::string& directory);
std::unique_ptr<FleetSystem> MakeXfsSystem(const std::string& directory);
// Over disk/lower, which is not changed.
std::unique_ptr<FleetSystem> MakeOverlaySystem(const std::string& disk);
// Over disk/base.raw, an ext4.
std::unique_ptr<FleetSystem> MakeQcow2System(const std::string& disk);

// Runs a program to its end, its output thrown away; Die if it does not return 0.
void RunProgram(const std::vector<std::string>& words);
// Allocated blocks of a directory and everything below it, in bytes.
uint64_t AllocatedBytes(const std::string& directory);

}  // namespace prism::bench
