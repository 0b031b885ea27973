//go:build wasip1

// Package wbpf is for control programs of eBPF applications, compiled to WebAssembly (GOOS=wasip1) for wBPF.
//
// Skeletons (NAME.skel.go, made by `wbpf build`) give names and types to what is here. Keys, values and records
// are structs without pointers, laid out as in eBPF.
package wbpf

import (
	"errors"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Error is what failed: an errno of Linux, and the host's words.
type Error struct {
	Errno syscall.Errno
	Text  string
}

func (e *Error) Error() string {
	if e.Text != "" {
		return e.Text
	}
	return "errno " + strconv.Itoa(int(e.Errno))
}

// Numbers of Linux: those of WASI are others.
const (
	notPermitted = 1
	notFound     = 2
	again        = 11
	notSupported = 95
)

// NotFound says whether an error means that there is no such key, name or place.
func NotFound(err error) bool { return is(err, notFound) }

// NotPermitted says whether an error means that something is not granted.
func NotPermitted(err error) bool { return is(err, notPermitted) }

// TimedOut says whether an error means that the time is over, and nothing was sent or has come.
func TimedOut(err error) bool { return is(err, again) }

func is(err error, errno syscall.Errno) bool {
	var found *Error
	return errors.As(err, &found) && found.Errno == errno
}

func checked(result int32) (int32, error) {
	if result >= 0 {
		return result, nil
	}
	var text [1024]byte
	bytes := abiLastError(unsafe.Pointer(&text), uint32(len(text)))
	if bytes < 0 {
		bytes = 0
	}
	return result, &Error{syscall.Errno(-result), string(text[:min(int(bytes), len(text))])}
}

func failed(result int32) error {
	_, err := checked(result)
	return err
}

func text(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// Object is an eBPF object of the module.
type Object int32

// OpenObject opens one by its name.
func OpenObject(name string) (Object, error) {
	at, bytes := text(name)
	handle, err := checked(abiObjectOpen(at, bytes))
	return Object(handle), err
}

// Load gives programs and maps to the kernel.
func (o Object) Load() error { return failed(abiObjectLoad(int32(o))) }

// Close detaches its programs and lets go of it.
func (o Object) Close() error { return failed(abiObjectClose(int32(o))) }

// Program finds a program.
func (o Object) Program(name string) (Program, error) {
	at, bytes := text(name)
	handle, err := checked(abiProgramFind(int32(o), at, bytes))
	return Program(handle), err
}

// Map finds a map.
func (o Object) Map(name string) (RawMap, error) {
	at, bytes := text(name)
	handle, err := checked(abiMapFind(int32(o), at, bytes))
	return RawMap(handle), err
}

// SetVariable gives a global variable a value: a constant only before loading.
func SetVariable[T any](o Object, name string, value *T) error {
	at, bytes := text(name)
	return failed(abiObjectSet(int32(o), at, bytes, unsafe.Pointer(value), uint32(unsafe.Sizeof(*value))))
}

// GetVariable reads a global variable.
func GetVariable[T any](o Object, name string, value *T) error {
	at, bytes := text(name)
	return failed(abiObjectGet(int32(o), at, bytes, unsafe.Pointer(value), uint32(unsafe.Sizeof(*value))))
}

// Program is a program of an object.
type Program int32

// Autoload says whether it is loaded with its object.
func (p Program) Autoload(on bool) error {
	var wanted uint32
	if on {
		wanted = 1
	}
	return failed(abiProgramAutoload(int32(p), wanted))
}

// Attach attaches it; an empty target: to what its section names.
func (p Program) Attach(target string, cookie uint64) (Link, error) {
	at, bytes := text(target)
	handle, err := checked(abiProgramAttach(int32(p), at, bytes, cookie))
	return Link(handle), err
}

// Run runs it once, here and now, with a context of one's own: for raw tracepoints its arguments.
func (p Program) Run(context []byte) (run Run, err error) {
	at, bytes := unsafe.Pointer(unsafe.SliceData(context)), uint32(len(context))
	err = failed(abiProgramRun(int32(p), at, bytes, nil, 0, nil, 0, unsafe.Pointer(&run)))
	return
}

// AttachIfLoaded attaches it to what its section names, if it was loaded and can be attached.
func (p Program) AttachIfLoaded() error {
	if _, err := p.Attach("", 0); err != nil && !is(err, notSupported) {
		return err
	}
	return nil
}

// Link is an attached program.
type Link int32

// Detach detaches it.
func (l Link) Detach() error { return failed(abiLinkDetach(int32(l))) }

// RawMap is a map whose types are not said.
type RawMap int32

// Info says what it is like.
func (m RawMap) Info() (info MapInfo, err error) {
	err = failed(abiMapInfo(int32(m), unsafe.Pointer(&info)))
	return
}

func delete_[K any](m RawMap, key *K) error {
	return failed(abiMapDelete(int32(m), unsafe.Pointer(key), uint32(unsafe.Sizeof(*key))))
}

func keys[K any](m RawMap, each func(K) bool) error {
	var last, next K
	size := uint32(unsafe.Sizeof(next))
	for from, bytes := unsafe.Pointer(nil), uint32(0); ; from, bytes = unsafe.Pointer(&last), size {
		err := failed(abiMapNextKey(int32(m), from, bytes, unsafe.Pointer(&next), size))
		if NotFound(err) {
			return nil
		}
		if err != nil || !each(next) {
			return err
		}
		last = next
	}
}

// Map is a map with keys and values of these types.
type Map[K, V any] struct{ RawMap }

// Get is the value of a key; NotFound(err) if there is none.
func (m Map[K, V]) Get(key K) (value V, err error) {
	k, v := uint32(unsafe.Sizeof(key)), uint32(unsafe.Sizeof(value))
	err = failed(abiMapLookup(int32(m.RawMap), unsafe.Pointer(&key), k, unsafe.Pointer(&value), v, 0))
	return
}

// Set writes a value.
func (m Map[K, V]) Set(key K, value V) error {
	k, v := uint32(unsafe.Sizeof(key)), uint32(unsafe.Sizeof(value))
	return failed(abiMapUpdate(int32(m.RawMap), unsafe.Pointer(&key), k, unsafe.Pointer(&value), v, 0))
}

// Delete removes an entry.
func (m Map[K, V]) Delete(key K) error { return delete_(m.RawMap, &key) }

// Keys calls a function with each key until it returns false.
func (m Map[K, V]) Keys(each func(K) bool) error { return keys(m.RawMap, each) }

// PerCPUMap is a map in which each possible CPU has a value of its own.
type PerCPUMap[K, V any] struct{ RawMap }

// Get is the value of each CPU.
func (m PerCPUMap[K, V]) Get(key K) ([]V, error) {
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	slot := slotBytes[V]()
	raw := make([]uint64, slot/8*uintptr(info.Cpus))
	at, bytes := unsafe.Pointer(unsafe.SliceData(raw)), uint32(len(raw)*8)
	k := uint32(unsafe.Sizeof(key))
	if err := failed(abiMapLookup(int32(m.RawMap), unsafe.Pointer(&key), k, at, bytes, 0)); err != nil {
		return nil, err
	}
	values := make([]V, info.Cpus)
	for cpu := range values {
		values[cpu] = *(*V)(unsafe.Add(at, uintptr(cpu)*slot))
	}
	return values, nil
}

// Set writes the value of each CPU.
func (m PerCPUMap[K, V]) Set(key K, values []V) error {
	slot := slotBytes[V]()
	raw := make([]uint64, slot/8*uintptr(len(values)))
	at, bytes := unsafe.Pointer(unsafe.SliceData(raw)), uint32(len(raw)*8)
	for cpu, value := range values {
		*(*V)(unsafe.Add(at, uintptr(cpu)*slot)) = value
	}
	return failed(abiMapUpdate(int32(m.RawMap), unsafe.Pointer(&key), uint32(unsafe.Sizeof(key)), at, bytes, 0))
}

// Delete removes an entry.
func (m PerCPUMap[K, V]) Delete(key K) error { return delete_(m.RawMap, &key) }

// Keys calls a function with each key until it returns false.
func (m PerCPUMap[K, V]) Keys(each func(K) bool) error { return keys(m.RawMap, each) }

func slotBytes[V any]() uintptr {
	var value V
	return (unsafe.Sizeof(value) + 7) &^ 7
}

// Reader reads a ring or perf buffer in batches: one copy and one call for many records.
type Reader struct {
	ring  int32
	batch []uint64
	at    int
	end   int
}

// NewReader opens one; the map's own field RawMap is what it wants.
func NewReader(m RawMap) (*Reader, error) {
	ring, err := checked(abiRingOpen(int32(m), RingBatch))
	return &Reader{ring: ring, batch: make([]uint64, 8192)}, err
}

// Next is the next record's bytes, valid until the next call; nil: there are no more for now.
func (r *Reader) Next() ([]byte, error) {
	if r.at >= r.end {
		if err := r.refill(); err != nil || r.end == 0 {
			return nil, err
		}
	}
	return r.take(), nil
}

// Record is a record's bytes as a structure; they must be as many at least.
func Record[T any](bytes []byte) *T {
	var value T
	if len(bytes) < int(unsafe.Sizeof(value)) {
		return nil
	}
	return (*T)(unsafe.Pointer(unsafe.SliceData(bytes)))
}

// Emit hands all records of a type that there are to the host, a batch in one call; returns how many.
func Emit[T any](r *Reader, event Event) (total int, err error) {
	var value T
	size := int(unsafe.Sizeof(value))
	for {
		if r.at >= r.end {
			if err = r.refill(); err != nil || r.end == 0 {
				return
			}
		}
		buffer, filled := r.bytes(), 0
		for r.at < r.end {
			if record := r.take(); len(record) >= size {
				filled += copy(buffer[filled:filled+size], record) // over frames that were read
			}
		}
		at := unsafe.Pointer(unsafe.SliceData(r.batch))
		if _, err = checked(abiEmit(uint32(event), at, uint32(filled))); err != nil {
			return
		}
		total += filled / size
	}
}

func (r *Reader) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.batch))), len(r.batch)*8)
}

func (r *Reader) refill() error {
	at := unsafe.Pointer(unsafe.SliceData(r.batch))
	bytes, err := checked(abiRingRead(r.ring, at, uint32(len(r.batch)*8)))
	r.at, r.end = 0, max(0, int(bytes))
	return err
}

func (r *Reader) take() []byte {
	frame := (*Frame)(unsafe.Pointer(&r.batch[r.at/8]))
	start := r.at + int(unsafe.Sizeof(*frame))
	r.at = start + (int(frame.Bytes)+7)&^7
	return r.bytes()[start : start+int(frame.Bytes)]
}

// Window is a ring in the module's own memory: records are read where the kernel wrote them.
type Window struct {
	place    RingWindow
	consumed uint64
}

// NewWindow opens one; the map's own field RawMap is what it wants.
func NewWindow(m RawMap) (*Window, error) {
	ring, err := checked(abiRingOpen(int32(m), RingInPlace))
	if err != nil {
		return nil, err
	}
	w := new(Window)
	if err := failed(abiRingWindow(ring, unsafe.Pointer(&w.place))); err != nil {
		return nil, err
	}
	w.consumed = atomic.LoadUint64((*uint64)(at(w.place.Consumer)))
	return w, nil
}

// Next is the next record's bytes, aligned to 8; nil: there are no more for now. They stay until Release, which gives
// the space back, once for many records.
func (w *Window) Next() []byte {
	produced := atomic.LoadUint64((*uint64)(at(w.place.Producer)))
	for w.consumed < produced {
		header := w.place.Data + uint32(w.consumed)&w.place.Mask
		length := atomic.LoadUint32((*uint32)(at(header)))
		if length&FrameBusy != 0 {
			return nil
		}
		bytes := length &^ FrameDiscarded
		w.consumed += 8 + (uint64(bytes)+7)&^7
		if length&FrameDiscarded == 0 {
			return unsafe.Slice((*byte)(at(header+8)), bytes)
		}
	}
	return nil
}

// Release gives back the space of all records that were read.
func (w *Window) Release() { atomic.StoreUint64((*uint64)(at(w.place.Consumer)), w.consumed) }

// An address in the module's memory that is not Go's: its garbage collector leaves it alone.
func at(address uint32) unsafe.Pointer {
	place := uintptr(address)
	return *(*unsafe.Pointer)(unsafe.Pointer(&place))
}

// Socket is a connection to an address that `network` of wbpf.toml names. A time of 0 does not wait, one below 0 is
// the module's deadline.
type Socket int32

// Connect connects to `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:/PATH`.
func Connect(address string, timeoutMs int32) (Socket, error) {
	at, bytes := text(address)
	handle, err := checked(abiSocketConnect(at, bytes, timeoutMs))
	return Socket(handle), err
}

// Send says how many bytes were sent; of a stream it may be fewer than there are.
func (s Socket) Send(data []byte, timeoutMs int32) (int, error) {
	at, bytes := unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))
	count, err := checked(abiSocketSend(int32(s), at, bytes, timeoutMs))
	return max(0, int(count)), err
}

// Receive says how many bytes have come; 0 at the end of a stream, TimedOut(err) when the time is over.
func (s Socket) Receive(data []byte, timeoutMs int32) (int, error) {
	at, bytes := unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))
	count, err := checked(abiSocketReceive(int32(s), at, bytes, timeoutMs))
	return max(0, int(count)), err
}

// Watch says whether Wait also ends when something has come.
func (s Socket) Watch(on bool) error {
	var wanted uint32
	if on {
		wanted = 1
	}
	return failed(abiSocketWatch(int32(s), wanted))
}

// Close closes it.
func (s Socket) Close() error { return failed(abiSocketClose(int32(s))) }

// Wait waits until some ring has records, or a watched socket something to receive: how many have, 0 when the time is
// over; an error when the program is to end. A negative time waits for ever.
func Wait(timeoutMs int32) (int, error) {
	var ready [16]int32
	count, err := checked(abiWait(timeoutMs, unsafe.Pointer(&ready), uint32(unsafe.Sizeof(ready))))
	return int(count), err
}

// Event is an event type of wbpf.toml.
type Event uint32

// FindEvent finds one by its name.
func FindEvent(name string) (Event, error) {
	at, bytes := text(name)
	number, err := checked(abiEventFind(at, bytes))
	return Event(number), err
}

// EmitOne hands a record to the host, which filters and prints it.
func EmitOne[T any](event Event, record *T) error {
	return failed(abiEmit(uint32(event), unsafe.Pointer(record), uint32(unsafe.Sizeof(*record))))
}

// Param is the text of a parameter's value; false: there is none of this name.
func Param(name string) (string, bool) {
	at, bytes := text(name)
	value := make([]byte, 4096)
	got := abiParamGet(at, bytes, unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)))
	if got < 0 {
		return "", false
	}
	return string(value[:min(int(got), len(value))]), true
}

// ParamInt is the value of an int, or of a duration in ns.
func ParamInt(name string) int64 {
	value, _ := Param(name)
	number, _ := strconv.ParseInt(value, 10, 64)
	return number
}

// ParamBool is the value of a bool.
func ParamBool(name string) bool {
	value, _ := Param(name)
	return value == "true"
}

// Text is the text in an array of char, up to its NUL.
func Text(bytes []byte) string {
	for at, letter := range bytes {
		if letter == 0 {
			return string(bytes[:at])
		}
	}
	return string(bytes)
}

// NowNs is the clock of bpf_ktime_get_ns().
func NowNs() uint64 { return uint64(abiNowNs()) }
