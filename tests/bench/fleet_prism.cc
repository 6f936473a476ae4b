// Prism in the fleet benchmark: verbs over the control socket, files through FUSE mounts.
#include <sys/stat.h>

#include <optional>

#include "tests/bench/fleet_system.h"
#include "tests/bench/measure.h"
#include "tools/prism/control_client.h"

namespace prism::bench {
namespace {

class PrismSystem : public FleetSystem {
 public:
  PrismSystem(std::string work, std::string prism, std::string control)
      : work_(std::move(work)), prism_(std::move(prism)), control_(std::move(control)) {
    Connect();
  }

  std::string name() const override { return "Prism"; }

  void Clone(const std::string& source, const std::string& target) override {
    CloneMany(source, {target});
  }
  bool CloneByCommand(const std::string& source, const std::string& target) override {
    RunProgram({prism_, "--control", control_, "clone", source, target});
    return true;
  }
  void CloneMany(const std::string& source, const std::vector<std::string>& targets) override {
    Must(client_->Call("clone", {{"source", source}, {"targets", targets}}), "clone");
  }

  std::string Open(const std::string& name) override {
    std::string directory = work_ + "/prism/" + name;
    mkdir(directory.c_str(), 0755);
    RunProgram({prism_, "--control", control_, "mount", name, directory});
    return directory;
  }
  void Close(const std::string& name) override {
    std::string directory = work_ + "/prism/" + name;
    RunProgram({prism_, "--control", control_, "umount", directory});
    rmdir(directory.c_str());
  }

  void Destroy(const std::vector<std::string>& names) override {
    Must(client_->Call("destroy", {{"names", names}}), "destroy");
  }

  // The store's files: with everything in the trees and nothing only in the journal.
  uint64_t UsedBytes() override {
    Restart();
    return AllocatedBytes(work_ + "/disk/store");
  }

  void Restart() override {
    client_.reset();
    RunProgram({work_ + "/restart-prism"});
    Connect();
  }

 private:
  void Connect() { client_.emplace(Must(tool::ControlClient::Connect(control_), "connect")); }

  std::string work_, prism_, control_;
  std::optional<tool::ControlClient> client_;
};

}  // namespace

std::unique_ptr<FleetSystem> MakePrismSystem(const std::string& work, const std::string& prism,
                                             const std::string& control) {
  return std::make_unique<PrismSystem>(work, prism, control);
}

}  // namespace prism::bench
