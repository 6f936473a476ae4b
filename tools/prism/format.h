// Numbers and tables as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prism::tool {

std::string Bytes(uint64_t bytes);       // "0 B", "512 B", "4.0 KiB", "1.5 GiB"
std::string Count(uint64_t count);       // "1,234,567"
std::string Seconds(double seconds);     // "83 us", "1.3 ms", "2.41 s", "3 min 12 s"
std::string LocalTime(int64_t seconds);  // "2024-05-01 13:37"
// Printable: control bytes, invalid UTF-8 and backslashes as \xNN, so that a hostile name cannot
// play with the terminal.
std::string Printable(std::string_view text);

// Rows of cells, aligned: numbers (columns named in `right`) to the right, text to the left.
class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string Format() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace prism::tool
