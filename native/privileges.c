/* Capabilities: what this process has, and how it starts anew with fewer of them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mptcpnet.h"

extern char **environ;

/* The calling thread's sets as bit masks; there are about 41 capabilities, a double holds 53 bits exactly. */
static int get_caps(uint64_t *effective, uint64_t *permitted) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return -1;
  *effective = (uint64_t)data[1].effective << 32 | data[0].effective;
  *permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
  return 0;
}

static int set_caps(uint64_t mask) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2] = {
      {.effective = (uint32_t)mask, .permitted = (uint32_t)mask, .inheritable = 0},
      {.effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32), .inheritable = 0},
  };
  return (int)syscall(SYS_capset, &header, data);
}

static uint64_t bounding_set(void) {
  uint64_t mask = 0;
  for (int cap = 0; cap < 64; cap++) {
    int state = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
    if (state < 0) break; /* beyond the last one that this kernel knows */
    if (state == 1) mask |= UINT64_C(1) << cap;
  }
  return mask;
}

static bool set_number(napi_env env, napi_value object, const char *name, uint64_t number) {
  napi_value value;
  return check(env, napi_create_double(env, (double)number, &value)) && check(env, napi_set_named_property(env, object, name, value));
}

/* capabilities(): {effective, permitted, bounding} of the calling thread */
static napi_value capabilities(napi_env env, napi_callback_info info) {
  uint64_t effective, permitted;
  napi_value result;
  (void)info;
  if (get_caps(&effective, &permitted) < 0) return throw_errno(env, "capget", errno);
  if (!check(env, napi_create_object(env, &result))) return NULL;
  if (!set_number(env, result, "effective", effective) || !set_number(env, result, "permitted", permitted) ||
      !set_number(env, result, "bounding", bounding_set()))
    return NULL;
  return result;
}

/* Takes everything but `mask` away from this thread and from all that it executes. The bounding set goes first: it needs CAP_SETPCAP. */
static const char *reduce(uint64_t mask) {
  for (int cap = 0; cap < 64; cap++) {
    if ((mask >> cap & 1) != 0) continue;
    if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0) break;
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) return "prctl PR_CAPBSET_DROP";
  }
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL) return "prctl PR_CAP_AMBIENT";
  uint64_t effective, permitted;
  if (get_caps(&effective, &permitted) < 0) return "capget";
  if (set_caps(permitted & mask) < 0) return "capset";
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return "prctl PR_SET_NO_NEW_PRIVS";
  return NULL;
}

/*
 * execWithCapabilities(mask, path, argv): replaces this process by another program (or itself) that has no other capabilities
 * than those of `mask`. Linux: capabilities belong to threads, and Node.js has several before the first line of JavaScript
 * runs; execve is what leaves exactly one, so that every later thread has the reduced sets. Comes back only to throw; then
 * this thread may have lost capabilities already.
 */
static napi_value exec_with_capabilities(napi_env env, napi_callback_info info) {
  napi_value args[3];
  double mask;
  char path[4096];
  uint32_t count = 0;
  if (!get_args(env, info, 3, args, NULL) || !get_double(env, args[0], &mask) || !get_text(env, args[1], path, sizeof path)) return NULL;
  if (napi_get_array_length(env, args[2], &count) != napi_ok) return throw_type(env, "a list of arguments was expected");
  char **argv = calloc((size_t)count + 1, sizeof *argv);
  if (argv == NULL) return throw_errno(env, "arguments", ENOMEM);
  bool is_read = true;
  for (uint32_t i = 0; is_read && i < count; i++) {
    napi_value item;
    size_t len = 0;
    is_read = check(env, napi_get_element(env, args[2], i, &item)) && check(env, napi_get_value_string_utf8(env, item, NULL, 0, &len));
    if (is_read) {
      argv[i] = malloc(len + 1);
      is_read = argv[i] != NULL && check(env, napi_get_value_string_utf8(env, item, argv[i], len + 1, &len));
    }
  }
  if (is_read) {
    const char *failed = reduce((uint64_t)mask);
    if (failed == NULL) {
      /* libuv marks everything that was inherited as close-on-exec, standard input and output too */
      for (int fd = 0; fd <= 2; fd++) fcntl(fd, F_SETFD, 0);
      execve(path, argv, environ);
      failed = "execve";
    }
    throw_errno(env, failed, errno);
  }
  for (uint32_t i = 0; i < count; i++) free(argv[i]);
  free(argv);
  return NULL;
}

bool register_privileges(napi_env env, napi_value exports) {
  napi_property_descriptor functions[] = {
      {"capabilities", NULL, capabilities, NULL, NULL, NULL, napi_default_method, NULL},
      {"execWithCapabilities", NULL, exec_with_capabilities, NULL, NULL, NULL, napi_default_method, NULL},
  };
  return check(env, napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions));
}
