// made by tools/generate_guest_abi.py from native/guest_abi.toml: do not edit
//! The imports of a module for wBPF, as they are.
#![allow(missing_docs)]

/// what wbpf_abi() of a module returns
pub const ABI_VERSION: u32 = 1;
/// that a module may hold at once; one more ends it
pub const MAX_HANDLES: u32 = 4096;
/// longest name of a program, map, variable or parameter
pub const NAME_BYTES: u32 = 64;
/// ring_open: copied in batches by ring_read
pub const RING_BATCH: u32 = 0;
/// ring_open: mapped into the module's memory
pub const RING_IN_PLACE: u32 = 1;
/// map_window: stores reach the map
pub const WINDOW_WRITE: u32 = 1;
/// map_batch: read entries
pub const BATCH_LOOKUP: u32 = 0;
/// map_batch: read entries and remove them
pub const BATCH_LOOKUP_AND_DELETE: u32 = 1;
/// map_batch: write entries
pub const BATCH_UPDATE: u32 = 2;
/// map_batch: remove entries
pub const BATCH_DELETE: u32 = 3;
/// that a module may have open at once
pub const MAX_SOCKETS: u32 = 16;
/// that one call sends or receives at most
pub const SOCKET_BYTES: u32 = 65536;
/// log: shown always
pub const LOG_ERROR: u32 = 0;
/// log: shown always
pub const LOG_WARNING: u32 = 1;
/// log: shown with -v
pub const LOG_INFO: u32 = 2;
/// log: shown with -v
pub const LOG_DEBUG: u32 = 3;
/// in wbpf_ring_window's data: this record was given up by its writer
pub const FRAME_DISCARDED: u32 = 1073741824;
/// in wbpf_ring_window's data: this record is still being written
pub const FRAME_BUSY: u32 = 2147483648;

/// what map_info tells
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MapInfo {
    /// of the kernel's `enum bpf_map_type`
    pub r#type: u32,
    /// of a key
    pub key_bytes: u32,
    /// of a value as map_lookup wants it: for per-CPU maps the values of all possible CPUs, each rounded up to 8
    pub value_bytes: u32,
    pub max_entries: u32,
    /// of the kernel's map flags
    pub flags: u32,
    /// values in one: the possible CPUs for a per-CPU map, else 1
    pub cpus: u32,
}

/// stands before each record that ring_read copies; the next frame is at the next multiple of 8 behind the record
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    /// of the record
    pub bytes: u32,
    /// that wrote it, in a perf buffer; meaningless for others
    pub cpu: u32,
}

/// a BPF ring buffer in the module's memory: addresses, and the mask of positions; records as the kernel keeps them, after a header of u32 bytes (with WBPF_FRAME_BUSY and WBPF_FRAME_DISCARDED), u32 unused
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RingWindow {
    /// of a u64: the position read up to; the module stores it (release) to give space back
    pub consumer: u32,
    /// of a u64: the position written up to; load it (acquire)
    pub producer: u32,
    /// of the records, mapped twice one after the other, so that none is split
    pub data: u32,
    /// position & mask is the offset in data
    pub mask: u32,
}

/// what program_run tells
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// of the program
    pub result: u32,
    /// of one run, on average
    pub duration_ns: u32,
    /// written to the output
    pub data_bytes: u32,
    pub reserved: u32,
}

#[link(wasm_import_module = "wbpf")]
extern "C" {
    /// Open an eBPF object that the module carries as `wbpf.object.NAME`; an empty name: the only one.
    /// Parameters and filters of the command line are set in it.
    pub fn object_open(name: *const u8, name_bytes: u32) -> i32;
    /// The same of an object in memory.
    pub fn object_open_mem(elf: *const u8, elf_bytes: u32) -> i32;
    /// Detach its programs and let go of it; all handles of its programs, maps, rings and links end.
    pub fn object_close(object: i32) -> i32;
    /// Give a global variable a value: of .rodata before loading, of .data and .bss at any time.
    pub fn object_set(object: i32, variable: *const u8, variable_bytes: u32, value: *const u8, value_bytes: u32) -> i32;
    /// Read a global variable.
    pub fn object_get(object: i32, variable: *const u8, variable_bytes: u32, value: *mut u8, value_bytes: u32) -> i32;
    /// Have the kernel verify the programs and make the maps.
    pub fn object_load(object: i32) -> i32;
    /// A program of an object; an empty name: the first.
    pub fn program_find(object: i32, name: *const u8, name_bytes: u32) -> i32;
    /// Whether object_load loads it.
    pub fn program_autoload(program: i32, on: u32) -> i32;
    /// Attach a program: to what its section names if `target` is empty. Several targets are separated
    /// by commas.
    pub fn program_attach(program: i32, target: *const u8, target_bytes: u32, cookie: u64) -> i32;
    /// Run a loaded program once with a context and packet of one's own (BPF_PROG_TEST_RUN).
    pub fn program_run(program: i32, context: *mut u8, context_bytes: u32, input: *const u8, input_bytes: u32, output: *mut u8, output_bytes: u32, run: *mut Run) -> i32;
    /// Detach what program_attach attached; the handle ends.
    pub fn link_detach(link: i32) -> i32;
    /// Read on in the text of an iterator's link; 0 at its end, after which it begins anew.
    pub fn link_read(link: i32, buffer: *mut u8, buffer_bytes: u32) -> i32;
    /// A map of an object.
    pub fn map_find(object: i32, name: *const u8, name_bytes: u32) -> i32;
    /// What a map is like.
    pub fn map_info(map: i32, info: *mut MapInfo) -> i32;
    /// Read a value. Key and value must have the map's sizes.
    pub fn map_lookup(map: i32, key: *const u8, key_bytes: u32, value: *mut u8, value_bytes: u32, flags: u64) -> i32;
    /// Write a value; flags of the kernel's: 0 any, 1 only a new key, 2 only one that is there. Queues,
    /// stacks and Bloom filters have an empty key.
    pub fn map_update(map: i32, key: *const u8, key_bytes: u32, value: *const u8, value_bytes: u32, flags: u64) -> i32;
    /// Remove an entry.
    pub fn map_delete(map: i32, key: *const u8, key_bytes: u32) -> i32;
    /// The key after a key; an empty key: the first.
    pub fn map_next_key(map: i32, key: *const u8, key_bytes: u32, next: *mut u8, next_bytes: u32) -> i32;
    /// Read a value and remove it; of a queue or stack, with an empty key, the next.
    pub fn map_lookup_and_delete(map: i32, key: *const u8, key_bytes: u32, value: *mut u8, value_bytes: u32, flags: u64) -> i32;
    /// Up to `count` entries in one call. Reading goes on behind `cursor`: 4 bytes more than a key and
    /// at least 8, all zero in front of the first entry; its first u32 becomes 1, and 2 behind the
    /// last. `values` is empty for removing.
    pub fn map_batch(map: i32, operation: u32, cursor: *mut u8, cursor_bytes: u32, keys: *mut u8, keys_bytes: u32, values: *mut u8, values_bytes: u32, count: u32, flags: u64) -> i32;
    /// Map an array with BPF_F_MMAPABLE into the module's memory; returns the address. Without
    /// WBPF_WINDOW_WRITE stores trap.
    pub fn map_window(map: i32, flags: u32) -> i64;
    /// Put a loaded program into a program array, or one for devices or CPUs into such a map.
    pub fn map_set_program(map: i32, key: *const u8, key_bytes: u32, program: i32) -> i32;
    /// Put a map into a map of maps.
    pub fn map_set_map(map: i32, key: *const u8, key_bytes: u32, inner: i32) -> i32;
    /// Keep a map under a path of a bpffs.
    pub fn map_pin(map: i32, path: *const u8, path_bytes: u32) -> i32;
    /// Before loading: take the map that is pinned there.
    pub fn map_reuse(map: i32, path: *const u8, path_bytes: u32) -> i32;
    /// Before loading: give it another size; 0 leaves as it is.
    pub fn map_resize(map: i32, max_entries: u32, value_bytes: u32) -> i32;
    /// Read a BPF ring buffer or a perf event array.
    pub fn ring_open(map: i32, flags: u32) -> i32;
    /// Read no more; the handle ends.
    pub fn ring_close(ring: i32) -> i32;
    /// Wait until a ring has records, or a watched socket something to receive; writes the handles (u32
    /// each) of those that have, in turn. 0: the time is over. A negative timeout waits for ever.
    pub fn wait(timeout_ms: i32, ready: *mut u8, ready_bytes: u32) -> i32;
    /// Copy as many whole records as fit, each behind a wbpf_frame; 0: there are none.
    pub fn ring_read(ring: i32, frames: *mut u8, frames_bytes: u32) -> i32;
    /// Where a ring that was opened with WBPF_RING_IN_PLACE is in the module's memory.
    pub fn ring_window(ring: i32, window: *mut RingWindow) -> i32;
    /// Records that the kernel could not keep in a perf buffer, as far as is known. 0 for BPF ring
    /// buffers: their programs see the failure themselves.
    pub fn ring_lost(ring: i32) -> i64;
    /// Write a record to a user ring buffer.
    pub fn user_ring_submit(map: i32, record: *const u8, record_bytes: u32) -> i32;
    /// Connect to `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:/PATH` (a stream, or datagrams if that is
    /// what is there); HOST is a name, a number, or `[::1]`. The manifest's `network` has to name it. A
    /// time, here and below: 0 does not wait, below 0 and above the module's deadline is the deadline.
    pub fn socket_connect(address: *const u8, address_bytes: u32, timeout_ms: i32) -> i32;
    /// Send a datagram, or bytes of a stream: fewer than there are if the time is over before, or if
    /// there are more than WBPF_SOCKET_BYTES.
    pub fn socket_send(socket: i32, data: *const u8, data_bytes: u32, timeout_ms: i32) -> i32;
    /// Receive a datagram, or what has come of a stream; 0: the stream's end.
    pub fn socket_receive(socket: i32, data: *mut u8, data_bytes: u32, timeout_ms: i32) -> i32;
    /// Whether `wait` also tells this socket's handle when something has come or the other end has
    /// closed.
    pub fn socket_watch(socket: i32, on: u32) -> i32;
    /// Close it; the handle ends.
    pub fn socket_close(socket: i32) -> i32;
    /// The text of a parameter's value; numbers are decimal, booleans `true` and `false`, durations
    /// nanoseconds. A value longer than the buffer is cut; its whole length is returned.
    pub fn param_get(name: *const u8, name_bytes: u32, value: *mut u8, value_bytes: u32) -> i32;
    /// The number of an event type of the manifest, for emit.
    pub fn event_find(name: *const u8, name_bytes: u32) -> i32;
    /// Hand over records of a type, one after another; the host filters and prints them. Returns how
    /// many passed the filter.
    pub fn emit(event_type: u32, records: *const u8, records_bytes: u32) -> i32;
    /// Say something on the host's standard error.
    pub fn log(level: u32, text: *const u8, text_bytes: u32) -> i32;
    /// What the last call of this module that failed had to say; 0: none failed.
    pub fn last_error(text: *mut u8, text_bytes: u32) -> i32;
    /// Names for addresses (u64 each), as `NAME+OFFSET`, a line each, an empty one where it is not
    /// known. pid -1: the kernel's; else a process's. Text longer than the buffer is cut; its whole
    /// length is returned.
    pub fn symbolise(addresses: *const u8, addresses_bytes: u32, pid: i32, text: *mut u8, text_bytes: u32) -> i32;
    /// The clock of bpf_ktime_get_ns(): CLOCK_MONOTONIC.
    pub fn now_ns() -> i64;
}
