/* Notifications of rtnetlink: that links, addresses, routes, rules or forwarding switches changed. Reads only. */
#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mptcpnet.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* A burst of changes (a routing daemon that starts) should fit; what does not is reported as an overrun. */
enum { RECEIVE_BUFFER = 1 << 20 };

struct rtnetlink {
  struct watch watch;
};

static void on_event(struct watch *watch, int ready) { watch_call(watch, ready); }

static void free_rtnetlink(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

static int open_socket(uint32_t groups, const char **what) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
  int size = RECEIVE_BUFFER;
  *what = "netlink socket";
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  if (fd < 0) return -1;
  /* Without CAP_NET_ADMIN the ordinary bound applies. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  *what = "netlink bind";
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* new Rtnetlink(groups, callback): groups is a mask of bits 1 << (RTNLGRP_* - 1) */
static napi_value construct(napi_env env, napi_callback_info info) {
  napi_value args[2], self;
  int32_t groups;
  if (!get_args(env, info, 2, args, &self) || !get_int32(env, args[0], &groups)) return NULL;
  struct rtnetlink *link = calloc(1, sizeof *link);
  if (link == NULL) return throw_errno(env, "rtnetlink", ENOMEM);
  link->watch.fd = -1;
  link->watch.on_event = on_event;
  if (!check(env, napi_wrap(env, self, link, free_rtnetlink, NULL, NULL))) {
    free(link);
    return NULL;
  }
  const char *what = NULL;
  int fd = open_socket((uint32_t)groups, &what);
  if (fd < 0) return throw_errno(env, what, errno);
  if (!watch_open(env, &link->watch, fd, self, args[1])) return NULL;
  if (!watch_set(env, &link->watch, READY_READ)) {
    watch_close(&link->watch);
    return NULL;
  }
  return self;
}

/* read(bytes): length of the next message of the kernel; 0: there is none; -1: some were lost */
static napi_value read_message(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  void *data = NULL;
  size_t size;
  napi_typedarray_type type;
  struct rtnetlink *link = get_open(env, info, 1, args);
  if (link == NULL) return NULL;
  if (napi_get_typedarray_info(env, args[0], &type, &size, &data, NULL, NULL) != napi_ok || type != napi_uint8_array)
    return throw_type(env, "a Uint8Array was expected");
  struct sockaddr_nl from;
  ssize_t len;
  for (;;) {
    struct iovec into = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &into, .msg_iovlen = 1};
    len = recvmsg(link->watch.fd, &message, MSG_DONTWAIT);
    if (len < 0 && errno == EINTR) continue;
    if (len >= 0 && from.nl_pid != 0) continue; /* anybody may send to a netlink socket; only the kernel is believed */
    if (len >= 0 && (message.msg_flags & MSG_TRUNC) != 0) len = -1, errno = ENOBUFS;
    break;
  }
  if (len < 0 && errno != EAGAIN && errno != ENOBUFS) return throw_errno(env, "netlink recvmsg", errno);
  int32_t value = len >= 0 ? (int32_t)len : errno == EAGAIN ? 0 : -1;
  return check(env, napi_create_int32(env, value, &result)) ? result : NULL;
}

/* netnsCookie(): the number of this network namespace, never used twice while the machine is up, as text; '' before Linux 5.14 */
static napi_value netns_cookie(napi_env env, napi_callback_info info) {
  napi_value result;
  uint64_t cookie = 0;
  char text[24] = "";
  (void)info;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, "socket", errno);
  socklen_t len = sizeof cookie;
  if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) == 0) snprintf(text, sizeof text, "%" PRIu64, cookie);
  close(fd);
  return check(env, napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result)) ? result : NULL;
}

bool register_rtnetlink(napi_env env, napi_value exports) {
  napi_property_descriptor methods[] = {
      {"read", NULL, read_message, NULL, NULL, NULL, napi_default_method, NULL},
      {"ref", NULL, watch_method_ref, NULL, NULL, NULL, napi_default_method, NULL},
      {"unref", NULL, watch_method_unref, NULL, NULL, NULL, napi_default_method, NULL},
      {"close", NULL, watch_method_close, NULL, NULL, NULL, napi_default_method, NULL},
  };
  napi_property_descriptor functions[] = {
      {"netnsCookie", NULL, netns_cookie, NULL, NULL, NULL, napi_default_method, NULL},
  };
  napi_value class;
  return check(env, napi_define_class(env, "Rtnetlink", NAPI_AUTO_LENGTH, construct, NULL, sizeof methods / sizeof *methods, methods, &class)) &&
         check(env, napi_set_named_property(env, exports, "Rtnetlink", class)) &&
         check(env, napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions));
}
