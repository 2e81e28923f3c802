/* Module entry, per-environment state, and the argument helpers. */
#include "mptcpnet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

static void close_all(napi_async_cleanup_hook_handle hook, void *data) {
  struct state *state = data;
  state->hook = hook;
  state->ending = true;
  for (struct watch *watch = state->watches, *next; watch != NULL; watch = next) {
    next = watch->next;
    watch_close(watch);
  }
  state_check_end(state);
}

/* The environment may go only when the loop has let go of every handle that lies in memory of ours. */
void state_check_end(struct state *state) {
  if (state->ending && state->live == 0) napi_remove_async_cleanup_hook(state->hook);
}

static void free_state(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

struct state *state_of(napi_env env) {
  void *data = NULL;
  if (!check(env, napi_get_instance_data(env, &data))) return NULL;
  return data;
}

bool check(napi_env env, napi_status status) {
  if (status == napi_ok) return true;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return false;
  const napi_extended_error_info *info = NULL;
  const char *text = "internal error";
  if (napi_get_last_error_info(env, &info) == napi_ok && info->error_message != NULL) text = info->error_message;
  napi_throw_error(env, "ERR_NATIVE", text);
  return false;
}

napi_value throw_type(napi_env env, const char *what) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", what);
  return NULL;
}

napi_value throw_errno(napi_env env, const char *what, int error) {
  char text[256];
  char message[512];
  int status = uv_translate_sys_error(error);
  uv_strerror_r(status, text, sizeof text);
  snprintf(message, sizeof message, "%s: %s", what, text);
  char name[32];
  uv_err_name_r(status, name, sizeof name);
  napi_throw_error(env, name, message);
  return NULL;
}

bool get_args(napi_env env, napi_callback_info info, size_t want, napi_value *args, napi_value *self) {
  size_t count = want;
  return check(env, napi_get_cb_info(env, info, &count, args, self, NULL)); /* missing ones are undefined */
}

bool get_int32(napi_env env, napi_value value, int32_t *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  throw_type(env, "an integer was expected");
  return false;
}

bool get_double(napi_env env, napi_value value, double *out) {
  if (napi_get_value_double(env, value, out) == napi_ok) return true;
  throw_type(env, "a number was expected");
  return false;
}

bool get_text(napi_env env, napi_value value, char *out, size_t size) {
  size_t len = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &len) != napi_ok) {
    throw_type(env, "a string was expected");
    return false;
  }
  if (len >= size) {
    throw_errno(env, "text argument", ENAMETOOLONG);
    return false;
  }
  return check(env, napi_get_value_string_utf8(env, value, out, size, &len));
}

void *get_open(napi_env env, napi_callback_info info, size_t want, napi_value *args) {
  napi_value self;
  void *data = NULL;
  if (!get_args(env, info, want, args, &self)) return NULL;
  if (!check(env, napi_unwrap(env, self, &data))) return NULL;
  if (((struct watch *)data)->fd < 0) return throw_errno(env, "closed handle", EBADF);
  return data;
}

NAPI_MODULE_INIT() {
  struct state *state = calloc(1, sizeof *state);
  if (state == NULL) return throw_errno(env, "mptcpnet", ENOMEM);
  if (!check(env, napi_set_instance_data(env, state, free_state, NULL))) {
    free(state);
    return NULL;
  }
  if (!check(env, napi_get_uv_event_loop(env, &state->loop))) return NULL;
  if (!check(env, napi_add_async_cleanup_hook(env, close_all, state, NULL))) return NULL;
  if (!register_tun(env, exports) || !register_timer(env, exports) || !register_misc(env, exports) || !register_rtnetlink(env, exports) ||
      !register_privileges(env, exports) || !register_inspect(env, exports))
    return NULL;
  return exports;
}
