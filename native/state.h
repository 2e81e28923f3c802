/* Per-environment state; only mptcpnet.c and watch.c look inside. */
#ifndef MPTCPNET_STATE_H
#define MPTCPNET_STATE_H

#include "mptcpnet.h"

struct state {
  uv_loop_t *loop;
  struct watch *watches; /* open ones */
  int live;              /* open or closing ones */
  bool ending;
  napi_async_cleanup_hook_handle hook; /* set while ending */
};

void state_check_end(struct state *state);

#endif
