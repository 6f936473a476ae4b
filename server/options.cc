#include "server/options.h"

#include <CLI/CLI.hpp>
#include <map>

namespace prism::server {

std::optional<Options> ParseOptions(int argc, const char* const* argv, int& exit_code) {
  Options options;
  fs::HostOptions& host = options.host;
  CLI::App app("The Prism server: keeps a store's volumes and serves them, in the foreground.",
               "prismd");
  app.footer("Sizes take K, M, G. SIGTERM and SIGINT end it cleanly.");
  app.add_option("--store", host.directory, "the store's directory; made if absent")->required();
  app.add_option("--control", options.control_path, "the control socket")->capture_default_str();
  app.add_option("--vm-directory", options.vm_directory,
                 "where attached machines find their sockets (\"vms\" beside the control socket)");
  CLI::Option* nfs = app.add_option("--nfs", options.nfs.listen,
                                    "ADDR:PORT to serve NFSv3, MOUNT and NLM at, over TCP");
  app.add_flag("--portmap", options.nfs.portmap, "register them with this host's rpcbind")
      ->needs(nfs);
  app.add_option("--nfs-workers", options.nfs.workers, "threads that serve NFS")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  const std::map<std::string, fs::Compression> compressions = {{"none", fs::Compression::kNone},
                                                               {"lz4", fs::Compression::kLz4},
                                                               {"zstd", fs::Compression::kZstd}};
  app.add_option("--compression", host.compression, "of what is written from now on")
      ->transform(CLI::Transformer(compressions))
      ->default_str("lz4")
      ->option_text("none|lz4|zstd");
  const auto size = CLI::AsSizeValue(false);
  app.add_option("--node-cache", host.node_cache_bytes, "bytes of tree nodes kept in memory")
      ->transform(size)
      ->default_str("512M");
  app.add_option("--chunk-cache", host.chunk_cache_bytes, "bytes of content kept in memory")
      ->transform(size)
      ->default_str("512M");
  app.add_option("--dirty-max", host.dirty_bytes_max, "bytes written, not yet in the store")
      ->transform(size)
      ->default_str("256M");
  app.add_option("--flush-interval-ms", host.flush_interval_ms,
                 "unsynced operations are durable after about this")
      ->check(CLI::Range(1u, 3600000u))
      ->capture_default_str();
  app.add_option("--checkpoint-interval-ms", host.checkpoint_interval_ms, "between checkpoints")
      ->check(CLI::Range(1u, 3600000u))
      ->capture_default_str();
  app.add_option("--workers", options.workers, "threads that serve mounts and imports")
      ->check(CLI::Range(1u, 1024u))
      ->capture_default_str();
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  return options;
}

}  // namespace prism::server
