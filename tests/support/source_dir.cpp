#include "tests/support/source_dir.h"

namespace espalier::test {

std::string source_dir() { return ESPALIER_SOURCE_DIR; }

}  // namespace espalier::test
