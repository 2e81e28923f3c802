/* A timer of microsecond resolution: libuv's own have milliseconds, too coarse for pacing. */
#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "mptcpnet.h"

struct timer {
  struct watch watch;
};

static void on_event(struct watch *watch, int ready) {
  uint64_t expired;
  (void)ready;
  if (read(watch->fd, &expired, sizeof expired) != sizeof expired) return; /* armed anew in the meantime */
  watch_call(watch, READY_READ);
}

static void free_timer(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

/* new Timer(callback) */
static napi_value construct(napi_env env, napi_callback_info info) {
  napi_value args[1], self;
  if (!get_args(env, info, 1, args, &self)) return NULL;
  struct timer *timer = calloc(1, sizeof *timer);
  if (timer == NULL) return throw_errno(env, "timer", ENOMEM);
  timer->watch.fd = -1;
  timer->watch.on_event = on_event;
  if (!check(env, napi_wrap(env, self, timer, free_timer, NULL, NULL))) {
    free(timer);
    return NULL;
  }
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (fd < 0) return throw_errno(env, "timerfd_create", errno);
  if (!watch_open(env, &timer->watch, fd, self, args[0])) return NULL;
  if (!watch_set(env, &timer->watch, READY_READ)) {
    watch_close(&timer->watch);
    return NULL;
  }
  return self;
}

static napi_value set(napi_env env, struct timer *timer, double us, int flags) {
  struct itimerspec spec = {0};
  if (!(us < 9e15)) us = 9e15; /* also NaN; centuries */
  if (us < 0) us = 0;
  spec.it_value.tv_sec = (time_t)(us / 1e6);
  spec.it_value.tv_nsec = (long)((us - (double)spec.it_value.tv_sec * 1e6) * 1e3);
  if (spec.it_value.tv_sec == 0 && spec.it_value.tv_nsec == 0) spec.it_value.tv_nsec = 1; /* zero would disarm */
  if (timerfd_settime(timer->watch.fd, flags, &spec, NULL) < 0) throw_errno(env, "timerfd_settime", errno);
  return NULL;
}

/* arm(atUs): instant on the clock of nowUs() */
static napi_value arm(napi_env env, napi_callback_info info) {
  napi_value args[1];
  double us;
  struct timer *timer = get_open(env, info, 1, args);
  if (timer == NULL || !get_double(env, args[0], &us)) return NULL;
  return set(env, timer, us, TFD_TIMER_ABSTIME);
}

/* armIn(us): span from now */
static napi_value arm_in(napi_env env, napi_callback_info info) {
  napi_value args[1];
  double us;
  struct timer *timer = get_open(env, info, 1, args);
  if (timer == NULL || !get_double(env, args[0], &us)) return NULL;
  return set(env, timer, us, 0);
}

static napi_value disarm(napi_env env, napi_callback_info info) {
  struct itimerspec spec = {0};
  struct timer *timer = get_open(env, info, 0, NULL);
  if (timer != NULL && timerfd_settime(timer->watch.fd, 0, &spec, NULL) < 0) throw_errno(env, "timerfd_settime", errno);
  return NULL;
}

bool register_timer(napi_env env, napi_value exports) {
  napi_property_descriptor methods[] = {
      {"arm", NULL, arm, NULL, NULL, NULL, napi_default_method, NULL},
      {"armIn", NULL, arm_in, NULL, NULL, NULL, napi_default_method, NULL},
      {"disarm", NULL, disarm, NULL, NULL, NULL, napi_default_method, NULL},
      {"ref", NULL, watch_method_ref, NULL, NULL, NULL, napi_default_method, NULL},
      {"unref", NULL, watch_method_unref, NULL, NULL, NULL, napi_default_method, NULL},
      {"close", NULL, watch_method_close, NULL, NULL, NULL, napi_default_method, NULL},
  };
  napi_value class;
  return check(env, napi_define_class(env, "Timer", NAPI_AUTO_LENGTH, construct, NULL, sizeof methods / sizeof *methods, methods, &class)) &&
         check(env, napi_set_named_property(env, exports, "Timer", class));
}
