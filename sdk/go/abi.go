// made by tools/generate_guest_abi.py from native/guest_abi.toml: do not edit

//go:build wasip1

package wbpf

import "unsafe"

const (
	// AbiVersion: what wbpf_abi() of a module returns.
	AbiVersion = 1
	// MaxHandles: that a module may hold at once; one more ends it.
	MaxHandles = 4096
	// NameBytes: longest name of a program, map, variable or parameter.
	NameBytes = 64
	// RingBatch: ring_open: copied in batches by ring_read.
	RingBatch = 0
	// RingInPlace: ring_open: mapped into the module's memory.
	RingInPlace = 1
	// WindowWrite: map_window: stores reach the map.
	WindowWrite = 1
	// BatchLookup: map_batch: read entries.
	BatchLookup = 0
	// BatchLookupAndDelete: map_batch: read entries and remove them.
	BatchLookupAndDelete = 1
	// BatchUpdate: map_batch: write entries.
	BatchUpdate = 2
	// BatchDelete: map_batch: remove entries.
	BatchDelete = 3
	// MaxSockets: that a module may have open at once.
	MaxSockets = 16
	// SocketBytes: that one call sends or receives at most.
	SocketBytes = 65536
	// LogError: log: shown always.
	LogError = 0
	// LogWarning: log: shown always.
	LogWarning = 1
	// LogInfo: log: shown with -v.
	LogInfo = 2
	// LogDebug: log: shown with -v.
	LogDebug = 3
	// FrameDiscarded: in wbpf_ring_window's data: this record was given up by its writer.
	FrameDiscarded = 1073741824
	// FrameBusy: in wbpf_ring_window's data: this record is still being written.
	FrameBusy = 2147483648
)

// MapInfo: what map_info tells.
type MapInfo struct {
	Type       uint32 // of the kernel's `enum bpf_map_type`
	KeyBytes   uint32 // of a key
	ValueBytes uint32 // of a value as map_lookup wants it: for per-CPU maps the values of all possible CPUs, each rounded up to 8
	MaxEntries uint32
	Flags      uint32 // of the kernel's map flags
	Cpus       uint32 // values in one: the possible CPUs for a per-CPU map, else 1
}

// Frame: stands before each record that ring_read copies; the next frame is at the next multiple of 8 behind the record.
type Frame struct {
	Bytes uint32 // of the record
	Cpu   uint32 // that wrote it, in a perf buffer; meaningless for others
}

// RingWindow: a BPF ring buffer in the module's memory: addresses, and the mask of positions; records as the kernel keeps them, after a header of u32 bytes (with WBPF_FRAME_BUSY and WBPF_FRAME_DISCARDED), u32 unused.
type RingWindow struct {
	Consumer uint32 // of a u64: the position read up to; the module stores it (release) to give space back
	Producer uint32 // of a u64: the position written up to; load it (acquire)
	Data     uint32 // of the records, mapped twice one after the other, so that none is split
	Mask     uint32 // position & mask is the offset in data
}

// Run: what program_run tells.
type Run struct {
	Result     uint32 // of the program
	DurationNs uint32 // of one run, on average
	DataBytes  uint32 // written to the output
	Reserved   uint32
}

// abiObjectOpen: Open an eBPF object that the module carries as `wbpf.object.NAME`; an empty name: the
// only one. Parameters and filters of the command line are set in it.
//
//go:wasmimport wbpf object_open
//go:noescape
func abiObjectOpen(name unsafe.Pointer, nameBytes uint32) int32

// abiObjectOpenMem: The same of an object in memory.
//
//go:wasmimport wbpf object_open_mem
//go:noescape
func abiObjectOpenMem(elf unsafe.Pointer, elfBytes uint32) int32

// abiObjectClose: Detach its programs and let go of it; all handles of its programs, maps, rings and
// links end.
//
//go:wasmimport wbpf object_close
//go:noescape
func abiObjectClose(object int32) int32

// abiObjectSet: Give a global variable a value: of .rodata before loading, of .data and .bss at any
// time.
//
//go:wasmimport wbpf object_set
//go:noescape
func abiObjectSet(object int32, variable unsafe.Pointer, variableBytes uint32, value unsafe.Pointer, valueBytes uint32) int32

// abiObjectGet: Read a global variable.
//
//go:wasmimport wbpf object_get
//go:noescape
func abiObjectGet(object int32, variable unsafe.Pointer, variableBytes uint32, value unsafe.Pointer, valueBytes uint32) int32

// abiObjectLoad: Have the kernel verify the programs and make the maps.
//
//go:wasmimport wbpf object_load
//go:noescape
func abiObjectLoad(object int32) int32

// abiProgramFind: A program of an object; an empty name: the first.
//
//go:wasmimport wbpf program_find
//go:noescape
func abiProgramFind(object int32, name unsafe.Pointer, nameBytes uint32) int32

// abiProgramAutoload: Whether object_load loads it.
//
//go:wasmimport wbpf program_autoload
//go:noescape
func abiProgramAutoload(program int32, on uint32) int32

// abiProgramAttach: Attach a program: to what its section names if `target` is empty. Several targets
// are separated by commas.
//
//go:wasmimport wbpf program_attach
//go:noescape
func abiProgramAttach(program int32, target unsafe.Pointer, targetBytes uint32, cookie uint64) int32

// abiProgramRun: Run a loaded program once with a context and packet of one's own (BPF_PROG_TEST_RUN).
//
//go:wasmimport wbpf program_run
//go:noescape
func abiProgramRun(program int32, context unsafe.Pointer, contextBytes uint32, input unsafe.Pointer, inputBytes uint32, output unsafe.Pointer, outputBytes uint32, run unsafe.Pointer) int32

// abiLinkDetach: Detach what program_attach attached; the handle ends.
//
//go:wasmimport wbpf link_detach
//go:noescape
func abiLinkDetach(link int32) int32

// abiLinkRead: Read on in the text of an iterator's link; 0 at its end, after which it begins anew.
//
//go:wasmimport wbpf link_read
//go:noescape
func abiLinkRead(link int32, buffer unsafe.Pointer, bufferBytes uint32) int32

// abiMapFind: A map of an object.
//
//go:wasmimport wbpf map_find
//go:noescape
func abiMapFind(object int32, name unsafe.Pointer, nameBytes uint32) int32

// abiMapInfo: What a map is like.
//
//go:wasmimport wbpf map_info
//go:noescape
func abiMapInfo(map_ int32, info unsafe.Pointer) int32

// abiMapLookup: Read a value. Key and value must have the map's sizes.
//
//go:wasmimport wbpf map_lookup
//go:noescape
func abiMapLookup(map_ int32, key unsafe.Pointer, keyBytes uint32, value unsafe.Pointer, valueBytes uint32, flags uint64) int32

// abiMapUpdate: Write a value; flags of the kernel's: 0 any, 1 only a new key, 2 only one that is
// there. Queues, stacks and Bloom filters have an empty key.
//
//go:wasmimport wbpf map_update
//go:noescape
func abiMapUpdate(map_ int32, key unsafe.Pointer, keyBytes uint32, value unsafe.Pointer, valueBytes uint32, flags uint64) int32

// abiMapDelete: Remove an entry.
//
//go:wasmimport wbpf map_delete
//go:noescape
func abiMapDelete(map_ int32, key unsafe.Pointer, keyBytes uint32) int32

// abiMapNextKey: The key after a key; an empty key: the first.
//
//go:wasmimport wbpf map_next_key
//go:noescape
func abiMapNextKey(map_ int32, key unsafe.Pointer, keyBytes uint32, next unsafe.Pointer, nextBytes uint32) int32

// abiMapLookupAndDelete: Read a value and remove it; of a queue or stack, with an empty key, the next.
//
//go:wasmimport wbpf map_lookup_and_delete
//go:noescape
func abiMapLookupAndDelete(map_ int32, key unsafe.Pointer, keyBytes uint32, value unsafe.Pointer, valueBytes uint32, flags uint64) int32

// abiMapBatch: Up to `count` entries in one call. Reading goes on behind `cursor`: 4 bytes more than a
// key and at least 8, all zero in front of the first entry; its first u32 becomes 1, and 2 behind the
// last. `values` is empty for removing.
//
//go:wasmimport wbpf map_batch
//go:noescape
func abiMapBatch(map_ int32, operation uint32, cursor unsafe.Pointer, cursorBytes uint32, keys unsafe.Pointer, keysBytes uint32, values unsafe.Pointer, valuesBytes uint32, count uint32, flags uint64) int32

// abiMapWindow: Map an array with BPF_F_MMAPABLE into the module's memory; returns the address.
// Without WBPF_WINDOW_WRITE stores trap.
//
//go:wasmimport wbpf map_window
//go:noescape
func abiMapWindow(map_ int32, flags uint32) int64

// abiMapSetProgram: Put a loaded program into a program array, or one for devices or CPUs into such a
// map.
//
//go:wasmimport wbpf map_set_program
//go:noescape
func abiMapSetProgram(map_ int32, key unsafe.Pointer, keyBytes uint32, program int32) int32

// abiMapSetMap: Put a map into a map of maps.
//
//go:wasmimport wbpf map_set_map
//go:noescape
func abiMapSetMap(map_ int32, key unsafe.Pointer, keyBytes uint32, inner int32) int32

// abiMapPin: Keep a map under a path of a bpffs.
//
//go:wasmimport wbpf map_pin
//go:noescape
func abiMapPin(map_ int32, path unsafe.Pointer, pathBytes uint32) int32

// abiMapReuse: Before loading: take the map that is pinned there.
//
//go:wasmimport wbpf map_reuse
//go:noescape
func abiMapReuse(map_ int32, path unsafe.Pointer, pathBytes uint32) int32

// abiMapResize: Before loading: give it another size; 0 leaves as it is.
//
//go:wasmimport wbpf map_resize
//go:noescape
func abiMapResize(map_ int32, maxEntries uint32, valueBytes uint32) int32

// abiRingOpen: Read a BPF ring buffer or a perf event array.
//
//go:wasmimport wbpf ring_open
//go:noescape
func abiRingOpen(map_ int32, flags uint32) int32

// abiRingClose: Read no more; the handle ends.
//
//go:wasmimport wbpf ring_close
//go:noescape
func abiRingClose(ring int32) int32

// abiWait: Wait until a ring has records, or a watched socket something to receive; writes the handles
// (u32 each) of those that have, in turn. 0: the time is over. A negative timeout waits for ever.
//
//go:wasmimport wbpf wait
//go:noescape
func abiWait(timeoutMs int32, ready unsafe.Pointer, readyBytes uint32) int32

// abiRingRead: Copy as many whole records as fit, each behind a wbpf_frame; 0: there are none.
//
//go:wasmimport wbpf ring_read
//go:noescape
func abiRingRead(ring int32, frames unsafe.Pointer, framesBytes uint32) int32

// abiRingWindow: Where a ring that was opened with WBPF_RING_IN_PLACE is in the module's memory.
//
//go:wasmimport wbpf ring_window
//go:noescape
func abiRingWindow(ring int32, window unsafe.Pointer) int32

// abiRingLost: Records that the kernel could not keep in a perf buffer, as far as is known. 0 for BPF
// ring buffers: their programs see the failure themselves.
//
//go:wasmimport wbpf ring_lost
//go:noescape
func abiRingLost(ring int32) int64

// abiUserRingSubmit: Write a record to a user ring buffer.
//
//go:wasmimport wbpf user_ring_submit
//go:noescape
func abiUserRingSubmit(map_ int32, record unsafe.Pointer, recordBytes uint32) int32

// abiSocketConnect: Connect to `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:/PATH` (a stream, or
// datagrams if that is what is there); HOST is a name, a number, or `[::1]`. The manifest's `network`
// has to name it. A time, here and below: 0 does not wait, below 0 and above the module's deadline is
// the deadline.
//
//go:wasmimport wbpf socket_connect
//go:noescape
func abiSocketConnect(address unsafe.Pointer, addressBytes uint32, timeoutMs int32) int32

// abiSocketSend: Send a datagram, or bytes of a stream: fewer than there are if the time is over
// before, or if there are more than WBPF_SOCKET_BYTES.
//
//go:wasmimport wbpf socket_send
//go:noescape
func abiSocketSend(socket int32, data unsafe.Pointer, dataBytes uint32, timeoutMs int32) int32

// abiSocketReceive: Receive a datagram, or what has come of a stream; 0: the stream's end.
//
//go:wasmimport wbpf socket_receive
//go:noescape
func abiSocketReceive(socket int32, data unsafe.Pointer, dataBytes uint32, timeoutMs int32) int32

// abiSocketWatch: Whether `wait` also tells this socket's handle when something has come or the other
// end has closed.
//
//go:wasmimport wbpf socket_watch
//go:noescape
func abiSocketWatch(socket int32, on uint32) int32

// abiSocketClose: Close it; the handle ends.
//
//go:wasmimport wbpf socket_close
//go:noescape
func abiSocketClose(socket int32) int32

// abiParamGet: The text of a parameter's value; numbers are decimal, booleans `true` and `false`,
// durations nanoseconds. A value longer than the buffer is cut; its whole length is returned.
//
//go:wasmimport wbpf param_get
//go:noescape
func abiParamGet(name unsafe.Pointer, nameBytes uint32, value unsafe.Pointer, valueBytes uint32) int32

// abiEventFind: The number of an event type of the manifest, for emit.
//
//go:wasmimport wbpf event_find
//go:noescape
func abiEventFind(name unsafe.Pointer, nameBytes uint32) int32

// abiEmit: Hand over records of a type, one after another; the host filters and prints them. Returns
// how many passed the filter.
//
//go:wasmimport wbpf emit
//go:noescape
func abiEmit(eventType uint32, records unsafe.Pointer, recordsBytes uint32) int32

// abiLog: Say something on the host's standard error.
//
//go:wasmimport wbpf log
//go:noescape
func abiLog(level uint32, text unsafe.Pointer, textBytes uint32) int32

// abiLastError: What the last call of this module that failed had to say; 0: none failed.
//
//go:wasmimport wbpf last_error
//go:noescape
func abiLastError(text unsafe.Pointer, textBytes uint32) int32

// abiSymbolise: Names for addresses (u64 each), as `NAME+OFFSET`, a line each, an empty one where it
// is not known. pid -1: the kernel's; else a process's. Text longer than the buffer is cut; its whole
// length is returned.
//
//go:wasmimport wbpf symbolise
//go:noescape
func abiSymbolise(addresses unsafe.Pointer, addressesBytes uint32, pid int32, text unsafe.Pointer, textBytes uint32) int32

// abiNowNs: The clock of bpf_ktime_get_ns(): CLOCK_MONOTONIC.
//
//go:wasmimport wbpf now_ns
//go:noescape
func abiNowNs() int64
