#include "meshd/dataplane/errors.h"

#include <cerrno>
#include <system_error>

namespace mesh {
namespace {

ErrorCode code_of(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
    case EROFS:
      return ErrorCode::kPermission;
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case ENOSYS:
      return ErrorCode::kUnsupported;
    case ENODEV:
    case ENOENT:
    case ENXIO:
    case ESRCH:
    case EADDRNOTAVAIL:  // RTM_DELADDR of an address that is not there
      return ErrorCode::kNotFound;
    case EEXIST:
      return ErrorCode::kExists;
    case EADDRINUSE:
    case EBUSY:
      return ErrorCode::kBusy;
    case EINVAL:
    case ERANGE:
    case E2BIG:
    case ENAMETOOLONG:
      return ErrorCode::kInvalid;
    case EAGAIN:
    case ETIMEDOUT:
      return ErrorCode::kTimeout;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case ENOBUFS:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
      return ErrorCode::kUnavailable;
    case EINTR:
      return ErrorCode::kInterrupted;
    default:
      return ErrorCode::kIo;
  }
}

std::string_view remedy_of(int error) {
  switch (error) {
    case EPERM:
      return " (CAP_NET_ADMIN is missing: run as root, or give the service this capability)";
    case EROFS:
      return " (mounted read-only, as in an unprivileged container)";
    case ENOBUFS:
      return " (the socket's buffer was too small and answers were lost)";
    default:
      return "";
  }
}

}  // namespace

Error error_from_errno(int error, std::string_view what) {
  // std::generic_category is safe on any thread, unlike strerror.
  return {code_of(error),
          fmt::format("{}: {}{}", what, std::generic_category().message(error), remedy_of(error)),
          error};
}

}  // namespace mesh
