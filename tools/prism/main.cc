#include "tools/prism/command.h"

int main(int argc, char** argv) { return prism::tool::RunCommandLine(argc, argv); }
