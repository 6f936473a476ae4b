#include "fs/birth/identity.h"

namespace prism::birth {

std::string_view DefaultIdentityRules() {
  return R"toml(# What `prism clone --identity` does to each clone before anybody sees it.
#
# A rule has a name, what it does, and to which paths of the volume: `*` and `?` match within one
# part of a path, as in a shell. Symlinks are followed as by a process inside the volume, but not at
# the end of what is removed. What is not there is passed over.
#
#   do = "remove"         the file, symlink, or directory with all that is in it
#   do = "empty"          the file stays, with nothing in it
#   do = "write"          content = "..." with {name} (the clone's), {hostname} (the same, as host
#                         names are made), {machine-id} (128 random bits, the same in all rules of
#                         one clone), {uuid}, and {{ for {; or random_bytes = N.
#                         if_missing = "create" (with mode = 0o644) or "skip" (if it says nothing)
#   do = "ssh-host-keys"  in each directory: new Ed25519 and ECDSA keys where there were some; those
#                         of other types, and certificates, are removed. For keys to be removed
#                         only, use "remove" with "/etc/ssh/ssh_host_*_key*".

[[rule]]
name = "machine-id"
do = "write"
paths = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
content = "{machine-id}\n"

[[rule]]
name = "hostname"
do = "write"
paths = ["/etc/hostname"]
content = "{hostname}\n"
if_missing = "create"

[[rule]]
name = "ssh-host-keys"
do = "ssh-host-keys"
paths = ["/etc/ssh"]

[[rule]]
name = "random-seed"
do = "write"
paths = ["/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed"]
random_bytes = 512

[[rule]]
name = "credential-secret"
do = "remove"
paths = ["/var/lib/systemd/credential.secret"]

# cloud-init takes what has no record of its instance for a new one.
[[rule]]
name = "cloud-init"
do = "remove"
paths = [
  "/var/lib/cloud/instance",
  "/var/lib/cloud/instances/*",
  "/var/lib/cloud/data/*",
  "/var/lib/cloud/sem/*",
  "/run/cloud-init/*",
]

[[rule]]
name = "dhcp"
do = "remove"
paths = [
  "/var/lib/dhcp/*lease*",
  "/var/lib/dhcp/duid*",
  "/var/lib/dhclient/*lease*",
  "/var/lib/dhcpcd/*",
  "/etc/dhcpcd.duid",
  "/var/lib/NetworkManager/*lease*",
  "/var/lib/NetworkManager/secret_key",
  "/var/lib/NetworkManager/timestamps",
  "/var/lib/wicked/duid.xml",
  "/var/lib/wicked/iaid.xml",
]

[[rule]]
name = "storage-initiators"
do = "remove"
paths = ["/etc/nvme/hostid", "/etc/nvme/hostnqn"]

[[rule]]
name = "journal"
do = "remove"
paths = ["/var/log/journal/*", "/run/log/journal/*"]
)toml";
}

}  // namespace prism::birth
