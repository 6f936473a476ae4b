#include "server/daemon.h"

int main(int argc, char** argv) {
  int exit_code = 0;
  auto options = prism::server::ParseOptions(argc, argv, exit_code);
  return options ? prism::server::RunDaemon(*options) : exit_code;
}
