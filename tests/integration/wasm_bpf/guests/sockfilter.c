/* sockfilter: loads, and prints whether its ring is there and whether attaching by the section's name fails.
 */
#include "wasm_bpf.h"

int main(void)
{
    uint64_t loaded = ATTACH(NULL, NULL);
    printf("%d %d\n", map_of(loaded, "rb") >= 0, wasm_attach_bpf_program(loaded, "socket_handler", "lo") < 0);
    return 0;
}
