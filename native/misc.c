/* Clock, checksum, and the socket calls that Node.js does not offer. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "mptcpnet.h"

/* nowUs(): CLOCK_MONOTONIC in whole microseconds */
static napi_value now_us(napi_env env, napi_callback_info info) {
  struct timespec now;
  napi_value result;
  (void)info;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (!check(env, napi_create_double(env, (double)now.tv_sec * 1e6 + (double)(now.tv_nsec / 1000), &result))) return NULL;
  return result;
}

/* RFC 1071 over [at, at+len): 16-bit words in network order, an odd byte padded by zero; folded, not complemented. */
static uint32_t sum_bytes(const uint8_t *at, size_t len) {
  uint64_t low = 0, high = 0; /* two chains of 32-bit halves: neither can overflow below 16 GB */
  uint64_t word;
  while (len >= 16) {
    memcpy(&word, at, 8);
    low += (uint32_t)word;
    high += word >> 32;
    memcpy(&word, at + 8, 8);
    low += (uint32_t)word;
    high += word >> 32;
    at += 16;
    len -= 16;
  }
  uint64_t total = (low & 0xffffffff) + (low >> 32) + (high & 0xffffffff) + (high >> 32);
  while (len >= 2) {
    uint16_t half;
    memcpy(&half, at, 2);
    total += half;
    at += 2;
    len -= 2;
  }
  if (len == 1) {
    uint16_t half = 0;
    memcpy(&half, at, 1);
    total += half;
  }
  total = (total & 0xffff) + ((total >> 16) & 0xffff) + ((total >> 32) & 0xffff);
  total = (total & 0xffff) + (total >> 16);
  total = (total & 0xffff) + (total >> 16);
  uint16_t host = (uint16_t)total; /* memory order: the same bytes are the sum in network order */
  uint8_t bytes[2];
  memcpy(bytes, &host, 2);
  return (uint32_t)bytes[0] << 8 | bytes[1];
}

/* sum(bytes, off, len) */
static napi_value sum(napi_env env, napi_callback_info info) {
  napi_value args[3], result;
  void *data = NULL;
  size_t total;
  napi_typedarray_type type;
  int32_t off, len;
  if (!get_args(env, info, 3, args, NULL)) return NULL;
  if (napi_get_typedarray_info(env, args[0], &type, &total, &data, NULL, NULL) != napi_ok || type != napi_uint8_array)
    return throw_type(env, "a Uint8Array was expected");
  if (!get_int32(env, args[1], &off) || !get_int32(env, args[2], &len)) return NULL;
  if (off < 0 || len < 0 || (size_t)off + (size_t)len > total) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the stretch lies outside of the array");
    return NULL;
  }
  if (!check(env, napi_create_uint32(env, sum_bytes((const uint8_t *)data + off, (size_t)len), &result))) return NULL;
  return result;
}

/* setMark(fd, mark): SO_MARK on a socket that Node.js opened */
static napi_value set_mark(napi_env env, napi_callback_info info) {
  napi_value args[2];
  int32_t fd, mark;
  if (!get_args(env, info, 2, args, NULL) || !get_int32(env, args[0], &fd) || !get_int32(env, args[1], &mark)) return NULL;
  if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0) throw_errno(env, "setsockopt SO_MARK", errno);
  return NULL;
}

/* sendUnixDatagram(path, text): one message; a leading '@' means the abstract namespace. For sd_notify. */
static napi_value send_unix_datagram(napi_env env, napi_callback_info info) {
  napi_value args[2];
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  char text[4096];
  if (!get_args(env, info, 2, args, NULL) || !get_text(env, args[0], to.sun_path, sizeof to.sun_path) ||
      !get_text(env, args[1], text, sizeof text))
    return NULL;
  socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(to.sun_path));
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return throw_errno(env, "socket", errno);
  if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, len) < 0) throw_errno(env, "sendto unix datagram", errno);
  close(fd);
  return NULL;
}

bool register_misc(napi_env env, napi_value exports) {
  napi_property_descriptor functions[] = {
      {"nowUs", NULL, now_us, NULL, NULL, NULL, napi_default_method, NULL},
      {"sum", NULL, sum, NULL, NULL, NULL, napi_default_method, NULL},
      {"setMark", NULL, set_mark, NULL, NULL, NULL, napi_default_method, NULL},
      {"sendUnixDatagram", NULL, send_unix_datagram, NULL, NULL, NULL, napi_default_method, NULL},
  };
  return check(env, napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions));
}
