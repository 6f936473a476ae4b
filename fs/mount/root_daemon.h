// What a process must do that serves the root file system of the machine that it runs in, below
// systemd (https://systemd.io/ROOT_STORAGE_DAEMONS).
#pragma once

namespace prism::mount {

// Call first of all. argv0: the process's own argv[0], whose first character becomes '@': systemd
// does not end such a process at shutdown. Nor does the kernel end it when memory is short, or make
// it wait then for the very file system that it serves.
// The process's root directory must be another one: the initramfs, which switch_root leaves to it.
void BecomeRootDaemon(char* argv0);

// systemd-shutdown stops every process (SIGSTOP), this one too, while it looks for those that it
// must end, and meanwhile reads /proc and asks for the attributes of "/" and whether
// /etc/initrd-release is there.
// If the kernel did not know, systemd would wait for ever for a process that it has stopped. It
// does so twice, and only the second time it asks. So the daemon asks itself when it has been
// stopped once (SIGCONT), and every kRefreshMs from then on: the kernel then has the answers, and
// keeps them however slow the machine is: in a root these names, "proc" among them, which leads to
// another file system, do not expire (SessionOptions::is_root).
constexpr int kRefreshMs = 50;
constexpr char kInitrdRelease[] = "initrd-release";
void RefreshWhatSystemdAsks();

}  // namespace prism::mount
