/* This process's probe sites and the programs attached to them. Errors are negative errnos. */
#ifndef WBPF_USER_SITES_H
#define WBPF_USER_SITES_H

#define WBPF_PROBES_INTERNAL
#include "user/program.h"
#include "wbpf/probe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A program attached to the sites of one name. */
typedef struct wbpf_site_link wbpf_site_link;

/* `name` is provider:name. The program must stay until the link is destroyed. -ENOENT: no such site. *sites:
 * how many there are in the modules that are loaded. */
int wbpf_site_link_create(const char *name, const wbpf_user_program *program, uint64_t cookie,
                          wbpf_site_link **out, uint32_t *sites);
/* When it returns, no thread is in the program any more. Runs that were stopped in *stopped. */
void wbpf_site_link_destroy(wbpf_site_link *link, uint64_t *stopped);
/* In a child after fork. */
void wbpf_sites_forget(void);

/* A site that no section has, for languages without them: the one of this name, provider:name, for ever. */
int wbpf_site_register(const char *name, struct wbpf_site **out);
/* For each site of this process, in any order; while it runs, no module is unloaded. */
void wbpf_for_each_site(void (*each)(const struct wbpf_site *site, void *context), void *context);

#ifdef __cplusplus
}
#endif

#endif
