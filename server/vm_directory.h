// The directory of a virtual machine's port: DIRECTORY/VM, mode 0700, of the user that its VMM runs
// as, so that no other user reaches the socket in it.
//
// That user may do what he likes in it, while the server may be root: so the server takes the
// directory back before it works in it, and never follows a symbolic link there.
#pragma once

#include <sys/types.h>

#include <string>

#include "fs/base/failure.h"

namespace prism::server {

// DIRECTORY/VM/lane.sock. kNameTooLong: that is no socket's path.
Outcome<std::string> VmSocketPath(const std::string& directory, const std::string& vm);

// Makes both directories where they are absent, takes the machine's to this process's user, and
// removes a socket that was left in it: nobody but root can connect until it is given.
Outcome<void> TakeVmDirectory(const std::string& directory, const std::string& vm);
// To the user. kPerm: it takes root to give it to somebody else.
Outcome<void> GiveVmDirectory(const std::string& directory, const std::string& vm, uid_t uid);
// With what the server made in it. If the user put something else there, both stay, with a line in
// the log.
void RemoveVmDirectory(const std::string& directory, const std::string& vm);

}  // namespace prism::server
