// What a virtual machine monitor must be told, so that a machine has its lane: for QEMU and
// libvirt.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prism::tool {

struct VmDevice {
  std::string vm;
  std::string socket_path;
  uint64_t vectors = 0;
};

// Arguments of qemu-system-*, one per element.
std::vector<std::string> QemuArguments(const VmDevice& device);
// For <devices> of a domain; ends with a newline.
std::string LibvirtXml(const VmDevice& device);
// For the command line of a kernel whose initramfs has tools/initramfs-tools: this volume is its
// root file system.
std::string KernelArguments(const std::string& volume);
// As one word of a shell.
std::string ShellWord(const std::string& word);

}  // namespace prism::tool
