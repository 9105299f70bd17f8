// Where the repository lies, for tests that read its files.
#pragma once
#include <string>

namespace espalier::test {

std::string source_dir();

}  // namespace espalier::test
