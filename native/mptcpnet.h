/*
 * The operating system's side of mptcpd-user: descriptors, readiness and batches. It knows no protocol.
 *
 * Everything belongs to one environment (the main thread or a worker): there are no globals. A `struct watch` is a
 * descriptor that the environment's libuv loop polls; the TUN and the timer embed one as their first member.
 *
 *     JS object --wraps--> struct watch (+ tun | timer)      the watch holds the object (`self`) from opening until the
 *         ^                       |                          loop has let go of it; only then may it be collected
 *         +------- self ----------+
 */
#ifndef MPTCPNET_H
#define MPTCPNET_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct state;

struct watch {
  struct state *state;
  struct watch *next, *prev; /* all open watches of the environment, for its teardown */
  napi_env env;
  napi_ref self;     /* strong while open or closing */
  napi_ref callback; /* the JS function that `on_event` calls */
  napi_async_context context;
  uv_poll_t poll;
  /* Called by the loop: bits of enum ready. */
  void (*on_event)(struct watch *watch, int ready);
  int fd; /* -1 when closed or never opened */
};

/* What JavaScript is told about a descriptor. */
enum ready { READY_READ = 1, READY_WRITE = 2, READY_GONE = 4 };

/* Per-environment data; NULL (and a pending exception) when it is missing. */
struct state *state_of(napi_env env);

/*
 * Puts `fd` under the loop of `env` (nothing is watched yet); takes the descriptor over, also on failure.
 * False: an exception is pending.
 */
bool watch_open(napi_env env, struct watch *watch, int fd, napi_value self, napi_value callback);
/* Watches for bits READY_READ | READY_WRITE; 0 stops. False: an exception is pending. */
bool watch_set(napi_env env, struct watch *watch, int ready);
/* Closes the descriptor now and frees the rest when the loop has let go. May be called twice. */
void watch_close(struct watch *watch);
/* Calls the JS callback with one number; an exception there is an uncaught one. */
void watch_call(struct watch *watch, int value);
/* Methods `ref`, `unref` and `close` of every class over a watch. */
napi_value watch_method_ref(napi_env env, napi_callback_info info);
napi_value watch_method_unref(napi_env env, napi_callback_info info);
napi_value watch_method_close(napi_env env, napi_callback_info info);

/* Argument and error helpers. Each throws and returns false (or NULL) on a wrong argument. */
bool check(napi_env env, napi_status status);
bool get_args(napi_env env, napi_callback_info info, size_t want, napi_value *args, napi_value *self);
bool get_int32(napi_env env, napi_value value, int32_t *out);
bool get_double(napi_env env, napi_value value, double *out);
/* Text into `out`; false when it does not fit. */
bool get_text(napi_env env, napi_value value, char *out, size_t size);
/* The struct behind `this`; NULL with a pending exception when it is closed. */
void *get_open(napi_env env, napi_callback_info info, size_t want, napi_value *args);
/* Throws an Error with `code` (ENOENT, ...) and the message "<what>: <text of errno>". */
napi_value throw_errno(napi_env env, const char *what, int error);
napi_value throw_type(napi_env env, const char *what);

bool register_tun(napi_env env, napi_value exports);
bool register_timer(napi_env env, napi_value exports);
bool register_misc(napi_env env, napi_value exports);
bool register_rtnetlink(napi_env env, napi_value exports);
bool register_privileges(napi_env env, napi_value exports);
bool register_inspect(napi_env env, napi_value exports);

#endif
