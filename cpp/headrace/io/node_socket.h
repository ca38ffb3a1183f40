// Hands descriptors of sealed segments between processes of one user, over sockets whose abstract name is in no file system.
//
// Owns nothing: descriptors are the caller's. Nothing here waits. Any thread, one at a time on a socket. Linux: node_socket_linux.cc.
#pragma once

#include <cstdint>
#include <string>

namespace headrace::io {

// A socket, or -1: nobody listens (connect), somebody does (listen), nobody came or one of another user (accept). Closed in children of
// fork().
int connect_to_node(const std::string& name);
int listen_as_node(const std::string& name);
int accept_peer(int listener);
void close_socket(int socket);

enum class Passed : std::uint8_t { kDone, kLater, kGone, kBad };
Passed send_segment(int socket, int descriptor, std::uint64_t bytes);
// *descriptor is the caller's where kDone.
Passed receive_segment(int socket, int* descriptor, std::uint64_t* bytes);

// A descriptor to poll, which wake() makes readable and calm() does not; -1 if there are none left.
int make_waker();
void wake(int waker);
void calm(int waker);
// The user, for names.
std::uint64_t user_number();

}  // namespace headrace::io
