// A volume with its snapshots in a directory of its root, .snapshot/LABEL, which listings do not
// show: as for a client that has asked for it. A file of that name in the volume is hidden by it.
//
// Everything in it is read-only (kReadOnly), links and renames across it too. Locks of files in it
// are granted without being kept: nobody can change what they would protect.
//
// INODES: of the volume, as they are. Of a snapshot, with kSnapshotBit and the low bits of the
// snapshot's number above their own, so that they mean the same to every client and after a restart
// of the server. Two snapshots of one volume whose numbers differ by a multiple of 2^19, and inodes
// from 2^36 on, cannot be told apart: the younger, and those, are not there (kNoEntry).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"

namespace prism::fs {

inline constexpr std::string_view kSnapshotDirName = ".snapshot";
inline constexpr InodeId kSnapshotBit = (kInodeMax + 1) >> 1;
inline constexpr InodeId kSnapshotDir = kSnapshotBit;

// `visible`: which snapshots this client may see.
std::shared_ptr<FileSystem> WithSnapshots(Host& host, VolumeId volume,
                                          std::shared_ptr<FileSystem> base,
                                          std::function<bool(const VolumeInfo&)> visible);

}  // namespace prism::fs
