#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "headrace/base/bytes.h"
#include "headrace/io/node_socket.h"
#include "headrace/storage/sealed_memory.h"

namespace headrace::io {
namespace {

constexpr std::uint64_t kMagic = 0x31656E6F4E5248ull;  // "HRNone1": changes with anything that is passed
constexpr std::size_t kMessageBytes = 16;
constexpr int kBacklog = 64;

struct Address {
  sockaddr_un address{};
  socklen_t length = 0;
  explicit Address(const std::string& name) {
    address.sun_family = AF_UNIX;
    const std::size_t size = std::min(name.size(), sizeof address.sun_path - 1);
    std::memcpy(address.sun_path + 1, name.data(), size);  // After a zero byte: abstract.
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

int made(int descriptor) {
  if (descriptor >= 0 && !storage::close_in_children(descriptor)) {
    ::close(descriptor);
    return -1;
  }
  return descriptor;
}

int new_socket() { return made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

bool is_same_user(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == ::geteuid();
}

int if_same_user(int socket) {
  if (socket < 0 || is_same_user(socket)) return socket;
  close_socket(socket);
  return -1;
}

}  // namespace

int connect_to_node(const std::string& name) {
  const int socket = new_socket();
  if (socket < 0) return -1;
  const Address address(name);
  if (::connect(socket, address.get(), address.length) == 0) return if_same_user(socket);
  close_socket(socket);
  return -1;
}

int listen_as_node(const std::string& name) {
  const int socket = new_socket();
  if (socket < 0) return -1;
  const Address address(name);
  if (::bind(socket, address.get(), address.length) == 0 && ::listen(socket, kBacklog) == 0) return socket;
  close_socket(socket);
  return -1;
}

int accept_peer(int listener) { return if_same_user(made(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK))); }

void close_socket(int socket) {
  if (socket < 0) return;
  storage::forget_descriptor(socket);
  ::close(socket);
}

Passed send_segment(int socket, int descriptor, std::uint64_t bytes) {
  std::array<std::uint8_t, kMessageBytes> text{};
  store_le<std::uint64_t>(text.data(), kMagic);
  store_le<std::uint64_t>(text.data() + 8, bytes);
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return Passed::kDone;
  // ETOOMANYREFS: as many descriptors are on their way as this user may have.
  const bool later = errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ETOOMANYREFS || errno == ENOMEM;
  return later ? Passed::kLater : Passed::kGone;
}

Passed receive_segment(int socket, int* descriptor, std::uint64_t* bytes) {
  std::array<std::uint8_t, kMessageBytes + 1> text{};
  iovec part{text.data(), text.size()};
  constexpr std::size_t kMostDescriptors = 8;  // As many as a message may bring before it is cut: all are closed.
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Passed::kLater : Passed::kGone;
  std::array<int, kMostDescriptors> came{};
  std::size_t count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < here && count < came.size(); ++i, ++count)
      std::memcpy(&came[count], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
  }
  const bool good = got == static_cast<ssize_t>(kMessageBytes) && count == 1 && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                    load_le<std::uint64_t>(text.data()) == kMagic;
  if (!good) {
    for (std::size_t i = 0; i < count; ++i) ::close(came[i]);
    return got == 0 && count == 0 ? Passed::kGone : Passed::kBad;
  }
  *descriptor = came[0];
  *bytes = load_le<std::uint64_t>(text.data() + 8);
  return Passed::kDone;
}

int make_waker() { return made(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void wake(int waker) {
  const std::uint64_t one = 1;
  (void)!::write(waker, &one, sizeof one);
}

void calm(int waker) {
  std::uint64_t count = 0;
  (void)!::read(waker, &count, sizeof count);
}

std::uint64_t user_number() { return ::geteuid(); }

}  // namespace headrace::io
