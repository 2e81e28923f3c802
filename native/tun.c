/* TUN queues: opened with vnet headers, read and written in batches straight from the arena. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mptcpnet.h"

enum { VNET_HDR_LEN = 10 };
enum { OPEN_MULTI_QUEUE = 1, OPEN_EXCLUSIVE = 2 };
/* Layout of a tx entry: headerOff, headerLen, iovCount, payloadLen, then pairs (off, len). */
enum { META_FIXED = 4, MAX_IOV = 16 };

/* Indices of the stats array (doubles: they never wrap). */
enum {
  RX_PACKETS, RX_BYTES, RX_BATCHES, RX_ERRORS,
  TX_PACKETS, TX_BYTES, TX_BATCHES, TX_BLOCKED,
  TX_INVALID, /* EINVAL, or an entry that points outside of the arena */
  TX_NOBUFS,  /* ENOBUFS, ENOMEM */
  TX_DOWN,    /* EIO: the interface is down */
  TX_OTHER,
  STATS_LEN
};

/* A stretch of memory that JavaScript lent us, kept by `ref`. */
struct lent {
  napi_ref ref;
  uint8_t *at;
  size_t len;
};

struct tun {
  struct watch watch;
  struct lent rx_arena, rx_lens, tx_arena, tx_meta;
  size_t rx_base, rx_slot_len, rx_slots;
  size_t tx_stride, tx_slots;
  struct lent stats_mem;
  double *stats; /* NULL until attached */
  double unread[STATS_LEN];
};

static void on_event(struct watch *watch, int ready) { watch_call(watch, ready); }

static void drop(napi_env env, struct lent *lent) {
  if (lent->ref != NULL) napi_delete_reference(env, lent->ref);
  memset(lent, 0, sizeof *lent);
}

static void drop_all(napi_env env, struct tun *tun) {
  drop(env, &tun->rx_arena);
  drop(env, &tun->rx_lens);
  drop(env, &tun->tx_arena);
  drop(env, &tun->tx_meta);
  drop(env, &tun->stats_mem);
  tun->stats = tun->unread;
}

static void free_tun(napi_env env, void *data, void *hint) {
  (void)hint;
  drop_all(env, data);
  free(data);
}

static bool lend_buffer(napi_env env, napi_value value, struct lent *lent) {
  struct lent taken = {0};
  void *at = NULL;
  if (napi_get_arraybuffer_info(env, value, &at, &taken.len) != napi_ok) {
    throw_type(env, "an ArrayBuffer was expected");
    return false;
  }
  if (!check(env, napi_create_reference(env, value, 1, &taken.ref))) return false;
  taken.at = at;
  drop(env, lent);
  *lent = taken;
  return true;
}

static bool lend_array(napi_env env, napi_value value, napi_typedarray_type want, struct lent *lent) {
  struct lent taken = {0};
  void *at = NULL;
  napi_typedarray_type type;
  if (napi_get_typedarray_info(env, value, &type, &taken.len, &at, NULL, NULL) != napi_ok || type != want) {
    throw_type(env, "a typed array of the right kind was expected");
    return false;
  }
  if (!check(env, napi_create_reference(env, value, 1, &taken.ref))) return false;
  taken.at = at;
  drop(env, lent);
  *lent = taken;
  return true;
}

/* Opens /dev/net/tun and names the interface in the calling thread's network namespace; -1 with errno and *what. */
static int open_here(struct ifreq *request, const char **what) {
  int size = VNET_HDR_LEN, on = 1;
  *what = "open /dev/net/tun";
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  *what = "TUNSETIFF";
  if (ioctl(fd, TUNSETIFF, request) < 0) goto fail;
  *what = "TUNSETVNETHDRSZ";
  if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0) goto fail;
  *what = "TUNSETVNETLE";
  if (ioctl(fd, TUNSETVNETLE, &on) < 0) goto fail;
  return fd;
fail:;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

/* The same inside of another network namespace; a descriptor stays with the namespace that it was opened in. */
static int open_there(const char *netns, struct ifreq *request, const char **what) {
  *what = "open network namespace";
  int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return -1;
  int there = open(netns, O_RDONLY | O_CLOEXEC);
  int fd = -1, error = errno;
  if (there >= 0) {
    *what = "setns";
    if (setns(there, CLONE_NEWNET) == 0) {
      fd = open_here(request, what);
      error = errno;
      /* Going on in a foreign namespace would send everything of this thread to the wrong place. */
      if (setns(home, CLONE_NEWNET) < 0) napi_fatal_error("mptcpnet", NAPI_AUTO_LENGTH, "cannot return from network namespace", NAPI_AUTO_LENGTH);
    } else {
      error = errno;
    }
    close(there);
  }
  close(home);
  errno = error;
  return fd;
}

/* new Tun(name, flags, netns | '', callback) */
static napi_value construct(napi_env env, napi_callback_info info) {
  napi_value args[4], self, value;
  char name[IFNAMSIZ], netns[1024];
  int32_t flags;
  if (!get_args(env, info, 4, args, &self) || !get_text(env, args[0], name, sizeof name) || !get_int32(env, args[1], &flags) ||
      !get_text(env, args[2], netns, sizeof netns))
    return NULL;
  struct tun *tun = calloc(1, sizeof *tun);
  if (tun == NULL) return throw_errno(env, "tun", ENOMEM);
  tun->watch.fd = -1;
  tun->watch.on_event = on_event;
  tun->stats = tun->unread;
  if (!check(env, napi_wrap(env, self, tun, free_tun, NULL, NULL))) {
    free(tun);
    return NULL;
  }
  struct ifreq request = {0};
  memcpy(request.ifr_name, name, sizeof name);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if ((flags & OPEN_MULTI_QUEUE) != 0) request.ifr_flags |= IFF_MULTI_QUEUE;
  if ((flags & OPEN_EXCLUSIVE) != 0) request.ifr_flags |= (short)IFF_TUN_EXCL;
  const char *what = NULL;
  int fd = netns[0] == '\0' ? open_here(&request, &what) : open_there(netns, &request, &what);
  if (fd < 0) return throw_errno(env, what, errno);
  if (!watch_open(env, &tun->watch, fd, self, args[3])) return NULL;
  if (!check(env, napi_create_string_utf8(env, request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ), &value)) ||
      !check(env, napi_set_named_property(env, self, "name", value))) {
    watch_close(&tun->watch);
    return NULL;
  }
  return self;
}

/* setOffloads(mask of TUN_F_*): whether the kernel takes it */
static napi_value set_offloads(napi_env env, napi_callback_info info) {
  napi_value args[1], result;
  int32_t mask;
  struct tun *tun = get_open(env, info, 1, args);
  if (tun == NULL || !get_int32(env, args[0], &mask)) return NULL;
  int status = ioctl(tun->watch.fd, TUNSETOFFLOAD, (unsigned long)mask);
  if (status < 0 && errno != EINVAL) return throw_errno(env, "TUNSETOFFLOAD", errno);
  return check(env, napi_get_boolean(env, status == 0, &result)) ? result : NULL;
}

/* attachRx(arena, base, slotLen, lens) */
static napi_value attach_rx(napi_env env, napi_callback_info info) {
  napi_value args[4];
  int32_t base, slot_len;
  struct tun *tun = get_open(env, info, 4, args);
  if (tun == NULL || !get_int32(env, args[1], &base) || !get_int32(env, args[2], &slot_len)) return NULL;
  tun->rx_slots = 0;
  if (!lend_buffer(env, args[0], &tun->rx_arena) || !lend_array(env, args[3], napi_int32_array, &tun->rx_lens)) return NULL;
  if (base < 0 || slot_len <= 0 || (size_t)base + (size_t)slot_len * tun->rx_lens.len > tun->rx_arena.len) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the slots lie outside of the arena");
    return NULL;
  }
  tun->rx_base = (size_t)base;
  tun->rx_slot_len = (size_t)slot_len;
  tun->rx_slots = tun->rx_lens.len;
  return NULL;
}

/* attachTx(arena, meta, stride) */
static napi_value attach_tx(napi_env env, napi_callback_info info) {
  napi_value args[3];
  int32_t stride;
  struct tun *tun = get_open(env, info, 3, args);
  if (tun == NULL || !get_int32(env, args[2], &stride)) return NULL;
  tun->tx_slots = 0;
  if (!lend_buffer(env, args[0], &tun->tx_arena) || !lend_array(env, args[1], napi_int32_array, &tun->tx_meta)) return NULL;
  if (stride < META_FIXED || stride > META_FIXED + 2 * MAX_IOV) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the stride does not fit");
    return NULL;
  }
  tun->tx_stride = (size_t)stride;
  tun->tx_slots = tun->tx_meta.len / (size_t)stride;
  return NULL;
}

/* attachStats(Float64Array of STATS_LEN) */
static napi_value attach_stats(napi_env env, napi_callback_info info) {
  napi_value args[1];
  struct tun *tun = get_open(env, info, 1, args);
  if (tun == NULL) return NULL;
  tun->stats = tun->unread;
  if (!lend_array(env, args[0], napi_float64_array, &tun->stats_mem)) return NULL;
  if (tun->stats_mem.len < STATS_LEN) return throw_type(env, "the stats array is too short");
  tun->stats = (double *)(void *)tun->stats_mem.at;
  return NULL;
}

/* readBatch(): packets read into slots 0.., until nothing is there or the slots are full */
static napi_value read_batch(napi_env env, napi_callback_info info) {
  struct tun *tun = get_open(env, info, 0, NULL);
  if (tun == NULL) return NULL;
  int32_t *lens = (int32_t *)(void *)tun->rx_lens.at;
  double bytes = 0;
  uint32_t count = 0;
  int error = 0;
  while (count < tun->rx_slots) {
    ssize_t len = read(tun->watch.fd, tun->rx_arena.at + tun->rx_base + count * tun->rx_slot_len, tun->rx_slot_len);
    if (len < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) error = errno;
      break;
    }
    lens[count++] = (int32_t)len;
    bytes += (double)len;
  }
  tun->stats[RX_PACKETS] += count;
  tun->stats[RX_BYTES] += bytes;
  tun->stats[RX_BATCHES]++;
  if (error != 0) {
    tun->stats[RX_ERRORS]++;
    if (count == 0) return throw_errno(env, "read from TUN", error);
  }
  napi_value result;
  return check(env, napi_create_uint32(env, count, &result)) ? result : NULL;
}

/* Fills `parts` from one entry; the number of parts, or 0 when the entry points outside of the arena. */
static int gather(const struct tun *tun, const int32_t *entry, struct iovec *parts) {
  int32_t pieces = entry[2];
  if (pieces < 0 || META_FIXED + 2 * (size_t)pieces > tun->tx_stride) return 0;
  for (int32_t i = -1; i < pieces; i++) {
    const int32_t *pair = i < 0 ? entry : entry + META_FIXED + 2 * i;
    if (pair[0] < 0 || pair[1] < 0 || (size_t)pair[0] + (size_t)pair[1] > tun->tx_arena.len) return 0;
    parts[i + 1].iov_base = tun->tx_arena.at + pair[0];
    parts[i + 1].iov_len = (size_t)pair[1];
  }
  return pieces + 1;
}

static int stat_of(int error) {
  switch (error) {
    case EINVAL: return TX_INVALID;
    case ENOBUFS:
    case ENOMEM: return TX_NOBUFS;
    case EIO: return TX_DOWN;
    default: return TX_OTHER;
  }
}

/* writeBatch(head, count): entries taken, from `head` on around the ring. Refused packets count as taken: they are lost. */
static napi_value write_batch(napi_env env, napi_callback_info info) {
  napi_value args[2];
  int32_t head, count;
  struct tun *tun = get_open(env, info, 2, args);
  if (tun == NULL || !get_int32(env, args[0], &head) || !get_int32(env, args[1], &count)) return NULL;
  if (head < 0 || count < 0 || (size_t)count > tun->tx_slots || ((size_t)head >= tun->tx_slots && count > 0)) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "no such entries in the ring");
    return NULL;
  }
  const int32_t *meta = (const int32_t *)(const void *)tun->tx_meta.at;
  struct iovec parts[1 + MAX_IOV];
  size_t slot = (size_t)head;
  int32_t done = 0;
  tun->stats[TX_BATCHES]++;
  while (done < count) {
    int n = gather(tun, meta + slot * tun->tx_stride, parts);
    ssize_t len = -1;
    if (n == 0) errno = EINVAL;
    else len = writev(tun->watch.fd, parts, n);
    if (len >= 0) {
      tun->stats[TX_PACKETS]++;
      tun->stats[TX_BYTES] += (double)len;
    } else if (errno == EINTR) {
      continue;
    } else if (errno == EAGAIN) {
      tun->stats[TX_BLOCKED]++;
      break;
    } else {
      tun->stats[stat_of(errno)]++;
    }
    done++;
    if (++slot == tun->tx_slots) slot = 0;
  }
  napi_value result;
  return check(env, napi_create_int32(env, done, &result)) ? result : NULL;
}

/* watch(bits): 1 readable, 2 writable, 0 nothing */
static napi_value watch(napi_env env, napi_callback_info info) {
  napi_value args[1];
  int32_t ready;
  struct tun *tun = get_open(env, info, 1, args);
  if (tun != NULL && get_int32(env, args[0], &ready)) watch_set(env, &tun->watch, ready);
  return NULL;
}

/* close(): also gives the lent memory back */
static napi_value close_tun(napi_env env, napi_callback_info info) {
  napi_value self;
  void *data = NULL;
  if (!get_args(env, info, 0, NULL, &self) || !check(env, napi_unwrap(env, self, &data))) return NULL;
  struct tun *tun = data;
  watch_close(&tun->watch);
  drop_all(env, tun);
  return NULL;
}

bool register_tun(napi_env env, napi_value exports) {
  napi_property_descriptor methods[] = {
      {"setOffloads", NULL, set_offloads, NULL, NULL, NULL, napi_default_method, NULL},
      {"attachRx", NULL, attach_rx, NULL, NULL, NULL, napi_default_method, NULL},
      {"attachTx", NULL, attach_tx, NULL, NULL, NULL, napi_default_method, NULL},
      {"attachStats", NULL, attach_stats, NULL, NULL, NULL, napi_default_method, NULL},
      {"readBatch", NULL, read_batch, NULL, NULL, NULL, napi_default_method, NULL},
      {"writeBatch", NULL, write_batch, NULL, NULL, NULL, napi_default_method, NULL},
      {"watch", NULL, watch, NULL, NULL, NULL, napi_default_method, NULL},
      {"ref", NULL, watch_method_ref, NULL, NULL, NULL, napi_default_method, NULL},
      {"unref", NULL, watch_method_unref, NULL, NULL, NULL, napi_default_method, NULL},
      {"close", NULL, close_tun, NULL, NULL, NULL, napi_default_method, NULL},
  };
  napi_value class;
  return check(env, napi_define_class(env, "Tun", NAPI_AUTO_LENGTH, construct, NULL, sizeof methods / sizeof *methods, methods, &class)) &&
         check(env, napi_set_named_property(env, exports, "Tun", class));
}
