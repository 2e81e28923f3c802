/* Descriptors under the libuv loop. */
#include <stdlib.h>
#include <unistd.h>

#include "mptcpnet.h"
#include "state.h"

static void on_closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  struct state *state = watch->state;
  if (watch->callback != NULL) napi_delete_reference(watch->env, watch->callback);
  if (watch->context != NULL) napi_async_destroy(watch->env, watch->context);
  watch->callback = NULL;
  watch->context = NULL;
  state->live--;
  napi_delete_reference(watch->env, watch->self); /* from here on the collector may free `watch` */
  state_check_end(state);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  int ready = 0;
  if (status < 0) ready = READY_GONE; /* Linux: EPOLLERR, the device was deleted; libuv has stopped watching */
  if ((events & UV_READABLE) != 0) ready |= READY_READ;
  if ((events & UV_WRITABLE) != 0) ready |= READY_WRITE;
  watch->on_event(watch, ready);
}

bool watch_open(napi_env env, struct watch *watch, int fd, napi_value self, napi_value callback) {
  struct state *state = state_of(env);
  if (state == NULL) goto fail;
  napi_valuetype type;
  if (!check(env, napi_typeof(env, callback, &type))) goto fail;
  if (type != napi_function) {
    throw_type(env, "a callback function was expected");
    goto fail;
  }
  napi_value name;
  if (!check(env, napi_create_string_utf8(env, "mptcpnet", NAPI_AUTO_LENGTH, &name)) ||
      !check(env, napi_create_reference(env, callback, 1, &watch->callback)) ||
      !check(env, napi_async_init(env, self, name, &watch->context)) ||
      !check(env, napi_create_reference(env, self, 1, &watch->self)))
    goto fail_refs;
  int status = uv_poll_init(state->loop, &watch->poll, fd);
  if (status < 0) {
    napi_delete_reference(env, watch->self);
    throw_errno(env, "uv_poll_init", -status);
    goto fail_refs;
  }
  watch->poll.data = watch;
  watch->env = env;
  watch->state = state;
  watch->fd = fd;
  watch->prev = NULL;
  watch->next = state->watches;
  if (watch->next != NULL) watch->next->prev = watch;
  state->watches = watch;
  state->live++;
  return true;

fail_refs:
  if (watch->context != NULL) napi_async_destroy(env, watch->context);
  if (watch->callback != NULL) napi_delete_reference(env, watch->callback);
  watch->context = NULL;
  watch->callback = NULL;
fail:
  close(fd);
  return false;
}

bool watch_set(napi_env env, struct watch *watch, int ready) {
  int events = 0;
  if ((ready & READY_READ) != 0) events |= UV_READABLE;
  if ((ready & READY_WRITE) != 0) events |= UV_WRITABLE;
  int status = events == 0 ? uv_poll_stop(&watch->poll) : uv_poll_start(&watch->poll, events, on_poll);
  if (status < 0) throw_errno(env, "uv_poll_start", -status);
  return status >= 0;
}

void watch_close(struct watch *watch) {
  if (watch->fd < 0) return;
  if (watch->prev != NULL) watch->prev->next = watch->next;
  else watch->state->watches = watch->next;
  if (watch->next != NULL) watch->next->prev = watch->prev;
  uv_close((uv_handle_t *)&watch->poll, on_closed); /* takes the descriptor out of epoll at once */
  close(watch->fd);
  watch->fd = -1;
}

void watch_call(struct watch *watch, int value) {
  napi_env env = watch->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value self, callback, arg;
  if (napi_get_reference_value(env, watch->self, &self) == napi_ok &&
      napi_get_reference_value(env, watch->callback, &callback) == napi_ok &&
      napi_create_int32(env, value, &arg) == napi_ok &&
      napi_make_callback(env, watch->context, self, callback, 1, &arg, NULL) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

napi_value watch_method_ref(napi_env env, napi_callback_info info) {
  struct watch *watch = get_open(env, info, 0, NULL);
  if (watch != NULL) uv_ref((uv_handle_t *)&watch->poll);
  return NULL;
}

napi_value watch_method_unref(napi_env env, napi_callback_info info) {
  struct watch *watch = get_open(env, info, 0, NULL);
  if (watch != NULL) uv_unref((uv_handle_t *)&watch->poll);
  return NULL;
}

napi_value watch_method_close(napi_env env, napi_callback_info info) {
  napi_value self;
  void *watch = NULL;
  if (get_args(env, info, 0, NULL, &self) && check(env, napi_unwrap(env, self, &watch))) watch_close(watch);
  return NULL;
}
