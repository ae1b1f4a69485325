#include "fuzz/record_fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mesh::testing::check_record_text(data, size, [](std::string_view text) {
    return mesh::parse_record_yaml(text, "fuzz", "node-b");
  });
  return 0;
}
