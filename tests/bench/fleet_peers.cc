// What the fleet benchmark compares Prism with: each as its manual says that copies are made.
#include <dirent.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "tests/bench/fleet_system.h"
#include "tests/bench/measure.h"

namespace prism::bench {
namespace {

int Check(int result, const std::string& what) {
  if (result < 0) Die(what + ": " + std::strerror(errno));
  return result;
}

// A file system of its own, which tells what it has allocated.
class MountedSystem : public FleetSystem {
 public:
  explicit MountedSystem(std::string directory) : directory_(std::move(directory)) {
    root_ = Check(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), directory_);
  }
  ~MountedSystem() override { close(root_); }
  std::string Open(const std::string& name) override { return directory_ + "/" + name; }
  void Close(const std::string&) override {}
  uint64_t UsedBytes() override {
    Check(syncfs(root_), "syncfs");
    struct statvfs status;
    Check(fstatvfs(root_, &status), "statvfs");
    return (status.f_blocks - status.f_bfree) * status.f_frsize;
  }

 protected:
  std::string directory_;
  int root_ = -1;
};

class Btrfs : public MountedSystem {
 public:
  using MountedSystem::MountedSystem;
  std::string name() const override { return "btrfs"; }
  void Clone(const std::string& source, const std::string& target) override {
    btrfs_ioctl_vol_args_v2 arguments{};
    arguments.fd = Check(open(Open(source).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), source);
    target.copy(arguments.name, sizeof arguments.name - 1);
    Check(ioctl(root_, BTRFS_IOC_SNAP_CREATE_V2, &arguments), "snapshot");
    close(static_cast<int>(arguments.fd));
  }
  bool CloneByCommand(const std::string& source, const std::string& target) override {
    RunProgram({"btrfs", "subvolume", "snapshot", Open(source), Open(target)});
    return true;
  }
  void Destroy(const std::vector<std::string>& names) override {
    for (const std::string& name : names) {
      btrfs_ioctl_vol_args arguments{};
      name.copy(arguments.name, sizeof arguments.name - 1);
      Check(ioctl(root_, BTRFS_IOC_SNAP_DESTROY, &arguments), "delete");
    }
    Check(ioctl(root_, BTRFS_IOC_SYNC, nullptr), "sync");  // as Prism's destroy: durable
  }
  // Extents of deleted snapshots are freed in the background.
  uint64_t UsedBytes() override {
    RunProgram({"btrfs", "subvolume", "sync", directory_});
    return MountedSystem::UsedBytes();
  }
};

class Xfs : public MountedSystem {
 public:
  using MountedSystem::MountedSystem;
  std::string name() const override { return "XFS"; }
  void Clone(const std::string& source, const std::string& target) override {
    RunProgram({"cp", "-a", "--reflink=always", Open(source), Open(target)});
  }
  bool CloneByCommand(const std::string&, const std::string&) override { return false; }
  void Destroy(const std::vector<std::string>& names) override {
    for (const std::string& name : names) RunProgram({"rm", "-rf", Open(name)});
  }
};

// A copy is a mount: nothing else knows that it is one. Copies of a copy have its upper directory
// as their topmost lower one, so it must not be changed from then on.
class Overlay : public FleetSystem {
 public:
  explicit Overlay(const std::string& disk) : directory_(disk + "/overlay") {
    layers_["base"] = {disk + "/lower"};
    Check(mkdir(directory_.c_str(), 0755), "mkdir");
  }
  ~Overlay() override {
    for (const auto& [name, layers] : layers_) umount2(Merged(name).c_str(), MNT_DETACH);
  }
  std::string name() const override { return "overlayfs"; }
  int DepthLimit() const override { return 499; }  // 500 lower layers: OVL_MAX_STACK of the kernel

  void Clone(const std::string& source, const std::string& target) override {
    MakeDirectories(target);
    Freeze(source);
    layers_[target] = LowerLayers(source);
    Mount(target);
  }
  bool CloneByCommand(const std::string& source, const std::string& target) override {
    std::string home = Home(target);
    layers_[target] = LowerLayers(source);
    std::string lower;
    for (const std::string& layer : layers_[target]) lower += (lower.empty() ? "" : ":") + layer;
    RunProgram({"mkdir", "-p", home + "/upper", home + "/work", home + "/merged"});
    RunProgram({"mount", "-t", "overlay", "overlay", "-o",
                "lowerdir=" + lower + ",upperdir=" + home + "/upper,workdir=" + home + "/work",
                home + "/merged"});
    return true;
  }
  std::string Open(const std::string& name) override { return Merged(name); }
  void Close(const std::string&) override {}
  void Destroy(const std::vector<std::string>& names) override {
    for (const std::string& name : names) {
      umount2(Merged(name).c_str(), 0);
      std::filesystem::remove_all(Home(name));
      layers_.erase(name);
    }
  }
  uint64_t UsedBytes() override {
    sync();
    uint64_t bytes = 0;
    for (const auto& [name, layers] : layers_)
      if (name != "base")
        bytes += AllocatedBytes(Home(name) + "/upper") + AllocatedBytes(Home(name) + "/work");
    return bytes;
  }

 private:
  std::string Home(const std::string& name) const { return directory_ + "/" + name; }
  std::string Merged(const std::string& name) const { return Home(name) + "/merged"; }
  void MakeDirectories(const std::string& name) {
    Check(mkdir(Home(name).c_str(), 0755), "mkdir");
    for (const char* part : {"/upper", "/work", "/merged"})
      Check(mkdir((Home(name) + part).c_str(), 0755), "mkdir");
  }
  void Freeze(const std::string& name) {
    if (name != "base") umount2(Merged(name).c_str(), 0);
  }
  std::vector<std::string> LowerLayers(const std::string& source) {
    std::vector<std::string> lower = layers_.at(source);
    if (source != "base") lower.insert(lower.begin(), Home(source) + "/upper");
    return lower;
  }
  // By fsconfig: the options of mount(2) have one page, which is some 40 layers.
  void Mount(const std::string& name) {
    int context = Check(fsopen("overlay", FSOPEN_CLOEXEC), "fsopen");
    auto set = [&](const char* key, const std::string& value) {
      Check(fsconfig(context, FSCONFIG_SET_STRING, key, value.c_str(), 0), key);
    };
    for (const std::string& layer : layers_.at(name)) set("lowerdir+", layer);
    set("upperdir", Home(name) + "/upper");
    set("workdir", Home(name) + "/work");
    Check(fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "fsconfig");
    int mounted = Check(fsmount(context, FSMOUNT_CLOEXEC, 0), "fsmount");
    Check(move_mount(mounted, "", AT_FDCWD, Merged(name).c_str(), MOVE_MOUNT_F_EMPTY_PATH),
          "move_mount");
    close(mounted);
    close(context);
  }

  std::string directory_;
  std::map<std::string, std::vector<std::string>> layers_;  // lower ones, topmost first
};

// Used as a host without a virtual machine can: exported by FUSE, the ext4 in it through a loop.
class Qcow2 : public FleetSystem {
 public:
  explicit Qcow2(const std::string& disk) : disk_(disk), directory_(disk + "/qcow2") {
    Check(mkdir(directory_.c_str(), 0755), "mkdir");
  }
  std::string name() const override { return "qcow2"; }
  void Clone(const std::string& source, const std::string& target) override {
    bool base = source == "base";
    RunProgram({"qemu-img", "create", "-f", "qcow2", "-F", base ? "raw" : "qcow2", "-b",
                base ? disk_ + "/base.raw" : Image(source), Image(target)});
  }
  bool CloneByCommand(const std::string&, const std::string&) override { return false; }
  std::string Open(const std::string& name) override {
    std::string at = directory_ + "/" + name;
    std::ofstream(at + ".raw").flush();
    mkdir((at + ".mnt").c_str(), 0755);
    RunProgram({"qemu-storage-daemon", "--daemonize", "--pidfile", at + ".pid", "--blockdev",
                "qcow2,node-name=q,file.driver=file,file.filename=" + Image(name), "--export",
                "fuse,id=e,node-name=q,mountpoint=" + at + ".raw,writable=on"});
    RunProgram({"mount", "-o", "loop", at + ".raw", at + ".mnt"});
    return at + ".mnt";
  }
  void Close(const std::string& name) override {
    std::string at = directory_ + "/" + name;
    Check(umount2((at + ".mnt").c_str(), 0), "umount");
    pid_t pid = 0;
    std::ifstream(at + ".pid") >> pid;
    if (pid <= 1) Die("qemu-storage-daemon has no pid file");
    kill(pid, SIGTERM);
    while (kill(pid, 0) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    rmdir((at + ".mnt").c_str());
    unlink((at + ".raw").c_str());
  }
  void Destroy(const std::vector<std::string>& names) override {
    for (const std::string& name : names) Check(unlink(Image(name).c_str()), "unlink");
  }
  uint64_t UsedBytes() override {
    sync();
    return AllocatedBytes(directory_);
  }

 private:
  std::string Image(const std::string& name) const { return directory_ + "/" + name + ".qcow2"; }
  std::string disk_, directory_;
};

}  // namespace

std::unique_ptr<FleetSystem> MakeBtrfsSystem(const std::string& directory) {
  return std::make_unique<Btrfs>(directory);
}
std::unique_ptr<FleetSystem> MakeXfsSystem(const std::string& directory) {
  return std::make_unique<Xfs>(directory);
}
std::unique_ptr<FleetSystem> MakeOverlaySystem(const std::string& disk) {
  return std::make_unique<Overlay>(disk);
}
std::unique_ptr<FleetSystem> MakeQcow2System(const std::string& disk) {
  return std::make_unique<Qcow2>(disk);
}

}  // namespace prism::bench
