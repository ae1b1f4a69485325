// RFC 3339, section 5.6. Calendar arithmetic is the standard library's; no locale, no time zone
// data base.
#include <chrono>
#include <cstdint>

#include "core/status.h"

namespace mesh {
namespace {

using std::chrono::floor;
using std::chrono::seconds;

constexpr int kFirstYear = 1970;
constexpr int kLastYear = 2261;  // the last whole year that nanoseconds in 64 bits reach

// Takes the text from the left, digit by digit.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool take(char wanted) {
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool digits(int count, int& out) {
    out = 0;
    for (int i = 0; i < count; ++i) {
      if (!at_digit()) return false;
      out = out * 10 + next_digit();
    }
    return true;
  }
  // What follows "." in a fraction of a second; digits beyond nanoseconds are dropped.
  bool fraction(std::int64_t& nanoseconds) {
    if (!at_digit()) return false;
    std::int64_t unit = 100'000'000;
    for (; at_digit(); unit /= 10) nanoseconds += unit * next_digit();
    return true;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  bool at_digit() const { return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; }
  int next_digit() {
    const int digit = rest_.front() - '0';
    rest_.remove_prefix(1);
    return digit;
  }
  std::string_view rest_;
};

// "Z", "+01:00" or "-01:00".
bool read_offset(Cursor& cursor, int& minutes) {
  minutes = 0;
  if (cursor.take('Z') || cursor.take('z')) return true;
  const bool ahead = cursor.take('+');
  if (!ahead && !cursor.take('-')) return false;
  int hour = 0;
  int minute = 0;
  if (!cursor.digits(2, hour) || !cursor.take(':') || !cursor.digits(2, minute)) return false;
  minutes = (ahead ? 1 : -1) * (hour * 60 + minute);
  return hour < 24 && minute < 60;
}

}  // namespace

std::string format_time(WallTime time) {
  const auto whole = floor<seconds>(time);
  const auto day = floor<std::chrono::days>(whole);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(whole - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

std::string format_time_exactly(WallTime time) {
  const auto fraction = floor<std::chrono::milliseconds>(time) - floor<seconds>(time);
  std::string text = format_time(time);
  text.pop_back();  // the Z
  return fmt::format("{}.{:03}Z", text, fraction.count());
}

Result<WallTime> parse_time(std::string_view text) {
  const auto refuse = [&] {
    return make_error(ErrorCode::kInvalid,
                      "'{:.40}' is not a time of RFC 3339 between {} and {}, such as "
                      "2026-11-22T15:00:01Z",
                      text, kFirstYear, kLastYear);
  };
  Cursor cursor(text);
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int offset = 0;
  std::int64_t nanoseconds = 0;
  const bool whole =
      cursor.digits(4, year) && cursor.take('-') && cursor.digits(2, month) && cursor.take('-') &&
      cursor.digits(2, day) && (cursor.take('T') || cursor.take('t') || cursor.take(' ')) &&
      cursor.digits(2, hour) && cursor.take(':') && cursor.digits(2, minute) && cursor.take(':') &&
      cursor.digits(2, second) && (!cursor.take('.') || cursor.fraction(nanoseconds)) &&
      read_offset(cursor, offset) && cursor.at_end();
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  // Second 60 is legal: a leap second, which is the next minute's first to the system clock.
  if (!whole || !date.ok() || year < kFirstYear || year > kLastYear || hour > 23 || minute > 59 ||
      second > 60)
    return refuse();
  return WallTime(std::chrono::sys_days(date).time_since_epoch() + std::chrono::hours(hour) +
                  std::chrono::minutes(minute - offset) + seconds(second) +
                  std::chrono::nanoseconds(nanoseconds));
}

}  // namespace mesh
