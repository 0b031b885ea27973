/* Processes that told in their segment where their threads keep what they work on. */
#include "kernel.h"
#include "recorder/segment.h"

uint32_t wbpf_segment_tracees(const wbpf_segment *segment, wbpf_tracee *out, uint32_t max)
{
    struct census census = census_of(segment->path);
    uint32_t count = 0;
    for (uint32_t i = 0; i < segment->map.header->process_count && count < max; i++) {
        const struct wbpf_process_slot *slot = &segment->map.processes[i];
        uint32_t generation = load_acquire(&slot->generation);
        if (!generation || !load_acquire(&slot->slot_offset) ||
            !process_alive(&segment->map, &census, NULL, owner_of(i, generation)))
            continue;
        int pid = process_pid_here(slot);
        if (pid <= 0)
            continue;
        wbpf_tracee *one = &out[count++];
        *one = (wbpf_tracee){.tgid = (uint32_t)pid,
                             .slot_offset = slot->slot_offset,
                             .owner = owner_of(i, generation),
                             .writer_offset = slot->writer_offset};
        memcpy(one->name, slot->name, sizeof one->name - 1);
    }
    census_end(&census);
    return count;
}
