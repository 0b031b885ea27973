/* Memory of the kernel's in the linear memory of guests. */
#ifndef WBPF_HOSTCALLS_WINDOWS_H
#define WBPF_HOSTCALLS_WINDOWS_H

#include "guest.h"

/* Handle faults on windows; before Wasmtime handles its own. */
void wbpf_windows_guard(void);
/* Grow the guest's memory by so much, in whole pages of Wasm; its address, or a negative errno. */
int64_t window_reserve(wbpf_guest *guest, uint64_t bytes);
/* Map a descriptor over reserved memory; `region` is where that begins. */
int window_map(wbpf_guest *guest, uint32_t region, uint32_t address, uint64_t bytes, int fd, uint64_t offset,
               bool writable);
/* Put zeroes in the place of the windows of a region. */
void window_unmap(wbpf_guest *guest, uint32_t region);
/* All windows of a guest, before its memory goes. */
void windows_forget(wbpf_guest *guest);

#endif
