/* What the doctor asks the kernel and Node.js cannot: offloads of a device, state of the clock. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <unistd.h>

#include "mptcpnet.h"

/* ethtool(8)'s questions, in the order of the bits of the answer. */
static const uint32_t OFFLOADS[] = {ETHTOOL_GTXCSUM, ETHTOOL_GTSO, ETHTOOL_GGSO, ETHTOOL_GGRO};

/* offloads(device): bits tx checksum 1, TSO 2, GSO 4, GRO 8; throws ENODEV */
static napi_value offloads(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (!get_args(env, info, 1, args, NULL) || !get_text(env, args[0], request.ifr_name, sizeof request.ifr_name)) return NULL;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return throw_errno(env, "socket", errno);
  uint32_t bits = 0;
  int error = 0;
  for (size_t i = 0; i < sizeof OFFLOADS / sizeof *OFFLOADS; i++) {
    struct ethtool_value value = {.cmd = OFFLOADS[i]};
    request.ifr_data = (char *)&value;
    if (ioctl(fd, SIOCETHTOOL, &request) < 0) {
      if (errno != EOPNOTSUPP) error = errno;
    } else if (value.data != 0)
      bits |= UINT32_C(1) << i;
  }
  close(fd);
  if (error != 0) return throw_errno(env, "SIOCETHTOOL", error);
  if (!check(env, napi_create_uint32(env, bits, &result))) return NULL;
  return result;
}

/* isClockSynchronised(): whether somebody (NTP, PTP) keeps the system's clock right, as the kernel was told */
static napi_value is_clock_synchronised(napi_env env, napi_callback_info info) {
  struct timex state;
  napi_value result;
  (void)info;
  memset(&state, 0, sizeof state);
  int code = adjtimex(&state);
  if (code < 0) return throw_errno(env, "adjtimex", errno);
  if (!check(env, napi_get_boolean(env, code != TIME_ERROR && (state.status & STA_UNSYNC) == 0, &result))) return NULL;
  return result;
}

bool register_inspect(napi_env env, napi_value exports) {
  napi_property_descriptor functions[] = {
      {"offloads", NULL, offloads, NULL, NULL, NULL, napi_default_method, NULL},
      {"isClockSynchronised", NULL, is_clock_synchronised, NULL, NULL, NULL, napi_default_method, NULL},
  };
  return check(env, napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions));
}
