"""The helpers, as the verifier knows them: what they take, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping

from wbpf.bpf.user.verifier.models import Arg, Returns, Signature

_A = Arg
_READ = (_A.MEMORY_OUT, _A.SIZE_OR_0, _A.ANY)
_XDP, _TC, _SKB = ("xdp",), ("tc",), ("socket", "tc")
_BYTES_IN = (_A.CONTEXT, _A.NUMBER, _A.MEMORY_IN, _A.SIZE, _A.NUMBER)
_BYTES_OUT = (_A.CONTEXT, _A.NUMBER, _A.MEMORY_OUT, _A.SIZE)
_CHECKSUM = (_A.CONTEXT, _A.NUMBER, _A.ANY, _A.ANY, _A.NUMBER)
_NUMBER, _TWO = (_A.CONTEXT, _A.NUMBER), (_A.CONTEXT, _A.NUMBER, _A.NUMBER)


def _packets(
    name: str, args: tuple[Arg, ...], families: tuple[str, ...], *, moves_packet: bool = False
) -> Signature:
    """A helper of programs for packets."""
    return Signature(name, args, moves_packet=moves_packet, families=families)


#: By number of `enum bpf_func_id` (linux/bpf.h).
SIGNATURES: Mapping[int, Signature] = {
    1: Signature("map_lookup_elem", (_A.MAP, _A.KEY), Returns.VALUE_OR_NULL),
    2: Signature("map_update_elem", (_A.MAP, _A.KEY, _A.VALUE_IN, _A.NUMBER)),
    3: Signature("map_delete_elem", (_A.MAP, _A.KEY)),
    4: Signature("probe_read", _READ),
    5: Signature("ktime_get_ns"),
    6: Signature("trace_printk", (_A.MEMORY_IN, _A.SIZE)),  # what is formatted need not be set
    7: Signature("get_prandom_u32"),
    8: Signature("get_smp_processor_id"),
    12: Signature("tail_call", (_A.CONTEXT, _A.MAP, _A.NUMBER)),
    14: Signature("get_current_pid_tgid"),
    15: Signature("get_current_uid_gid"),
    16: Signature("get_current_comm", (_A.MEMORY_OUT, _A.SIZE)),
    25: Signature("perf_event_output", (_A.CONTEXT, _A.MAP, _A.NUMBER, _A.MEMORY_IN, _A.SIZE_OR_0)),
    27: Signature("get_stackid", (_A.CONTEXT, _A.MAP, _A.NUMBER)),
    45: Signature("probe_read_str", _READ, Returns.BYTES),
    42: Signature("get_numa_node_id"),
    67: Signature("get_stack", (_A.CONTEXT, _A.MEMORY_OUT, _A.SIZE_OR_0, _A.NUMBER), Returns.BYTES),
    80: Signature("get_current_cgroup_id"),
    87: Signature("map_push_elem", (_A.MAP, _A.VALUE_IN, _A.NUMBER)),
    88: Signature("map_pop_elem", (_A.MAP, _A.VALUE_OUT)),
    89: Signature("map_peek_elem", (_A.MAP, _A.VALUE_OUT)),
    93: Signature("spin_lock", (_A.LOCK,)),
    94: Signature("spin_unlock", (_A.LOCK,)),
    112: Signature("probe_read_user", _READ),
    113: Signature("probe_read_kernel", _READ),
    114: Signature("probe_read_user_str", _READ, Returns.BYTES),
    115: Signature("probe_read_kernel_str", _READ, Returns.BYTES),
    120: Signature("get_ns_current_pid_tgid", (_A.NUMBER, _A.NUMBER, _A.MEMORY_OUT, _A.SIZE)),
    123: Signature("get_current_ancestor_cgroup_id", (_A.NUMBER,)),
    125: Signature("ktime_get_boot_ns"),
    130: Signature("ringbuf_output", (_A.MAP, _A.MEMORY_IN, _A.SIZE_OR_0, _A.NUMBER)),
    131: Signature("ringbuf_reserve", (_A.MAP, _A.CONSTANT, _A.NUMBER), Returns.RECORD_OR_NULL),
    132: Signature("ringbuf_submit", (_A.RECORD, _A.NUMBER)),
    133: Signature("ringbuf_discard", (_A.RECORD, _A.NUMBER)),
    134: Signature("ringbuf_query", (_A.MAP, _A.NUMBER)),
    148: Signature("copy_from_user", _READ),
    160: Signature("ktime_get_coarse_ns"),
    164: Signature("for_each_map_elem", (_A.MAP, _A.FUNCTION, _A.ANY, _A.NUMBER)),
    165: Signature("snprintf", (_A.MEMORY_OUT, _A.SIZE_OR_0, _A.TEXT, _A.MEMORY_IN, _A.SIZE_OR_0)),
    177: Signature("trace_vprintk", (_A.MEMORY_IN, _A.SIZE, _A.MEMORY_IN, _A.SIZE_OR_0)),
    174: Signature("get_attach_cookie", (_A.CONTEXT,)),
    181: Signature("loop", (_A.NUMBER, _A.FUNCTION, _A.ANY, _A.NUMBER)),
    182: Signature("strncmp", (_A.MEMORY_IN, _A.SIZE, _A.TEXT)),
    195: Signature("map_lookup_percpu_elem", (_A.MAP, _A.KEY, _A.NUMBER), Returns.VALUE_OR_NULL),
    208: Signature("ktime_get_tai_ns"),
    9: _packets("skb_store_bytes", _BYTES_IN, _TC, moves_packet=True),
    10: _packets("l3_csum_replace", _CHECKSUM, _TC, moves_packet=True),
    11: _packets("l4_csum_replace", _CHECKSUM, _TC, moves_packet=True),
    23: _packets("redirect", (_A.NUMBER, _A.NUMBER), ("xdp", "tc")),
    26: _packets("skb_load_bytes", _BYTES_OUT, _SKB),
    28: _packets(
        "csum_diff", (_A.MEMORY_IN, _A.SIZE_OR_0, _A.MEMORY_IN, _A.SIZE_OR_0, _A.ANY), ("xdp", "tc")
    ),
    32: _packets("skb_change_type", _NUMBER, _TC),
    38: _packets("skb_change_tail", _TWO, _TC, moves_packet=True),
    39: _packets("skb_pull_data", _NUMBER, _TC, moves_packet=True),
    40: _packets("csum_update", (_A.CONTEXT, _A.ANY), _TC),
    41: _packets("set_hash_invalid", (_A.CONTEXT,), _TC),
    43: _packets("skb_change_head", _TWO, _TC, moves_packet=True),
    44: _packets("xdp_adjust_head", _NUMBER, _XDP, moves_packet=True),
    48: _packets("set_hash", _NUMBER, _TC),
    51: _packets("redirect_map", (_A.MAP, _A.NUMBER, _A.NUMBER), _XDP),
    54: _packets("xdp_adjust_meta", _NUMBER, _XDP, moves_packet=True),
    65: _packets("xdp_adjust_tail", _NUMBER, _XDP, moves_packet=True),
    68: _packets("skb_load_bytes_relative", (*_BYTES_OUT, _A.NUMBER), _SKB),
    188: _packets("xdp_get_buff_len", (_A.CONTEXT,), _XDP),
    189: _packets("xdp_load_bytes", _BYTES_OUT, _XDP),
    190: _packets("xdp_store_bytes", (_A.CONTEXT, _A.NUMBER, _A.MEMORY_IN, _A.SIZE), _XDP),
    201: Signature("dynptr_read", (_A.MEMORY_OUT, _A.SIZE_OR_0, _A.DYNPTR, _A.NUMBER, _A.NUMBER)),
    202: Signature("dynptr_write", (_A.DYNPTR, _A.NUMBER, _A.MEMORY_IN, _A.SIZE_OR_0, _A.NUMBER)),
    203: Signature("dynptr_data", (_A.DYNPTR, _A.NUMBER, _A.CONSTANT), Returns.MEMORY_OR_NULL),
    209: Signature("user_ringbuf_drain", (_A.MAP, _A.FUNCTION, _A.ANY, _A.NUMBER)),
}
