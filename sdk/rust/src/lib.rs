//! Control programs of eBPF applications, compiled to WebAssembly for wBPF. Without `std`, and without a heap.
//!
//! Skeletons (`NAME.skel.rs`, made by `wbpf build`) give names and types to what is here.
#![no_std]

#[allow(clippy::missing_safety_doc)]
pub mod abi;

use core::marker::PhantomData;
use core::mem::{align_of, size_of, MaybeUninit};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Tells the host what the module was built for.
#[no_mangle]
pub extern "C" fn wbpf_abi() -> i32 {
    abi::ABI_VERSION as i32
}

/// What failed, by its number: an `errno` of Linux. `message` has the host's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

impl Error {
    pub const NOT_FOUND: Error = Error(2);
    /// Not granted.
    pub const NOT_PERMITTED: Error = Error(1);
    /// The time is over, and nothing was sent or has come.
    pub const AGAIN: Error = Error(11);
    const NOT_SUPPORTED: Error = Error(95);

    /// What the last call that failed had to say.
    pub fn message(buffer: &mut [u8]) -> &str {
        let bytes = unsafe { abi::last_error(buffer.as_mut_ptr(), buffer.len() as u32) };
        let bytes = (bytes.max(0) as usize).min(buffer.len());
        core::str::from_utf8(&buffer[..bytes]).unwrap_or("")
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut buffer = [0; 1024];
        match Error::message(&mut buffer) {
            "" => write!(to, "errno {}", self.0),
            text => to.write_str(text),
        }
    }
}

fn checked(result: i32) -> Result<i32, Error> {
    if result < 0 {
        Err(Error(-result))
    } else {
        Ok(result)
    }
}

/// A type that is whole as any bytes, and has no padding.
///
/// # Safety
/// Only for types of which both is true.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),*) => { $(unsafe impl Plain for $name {})* };
}
plain!((), u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

fn address<T>(value: &T) -> *const u8 {
    value as *const T as *const u8
}

/// An eBPF object of the module.
#[derive(Clone, Copy)]
pub struct Object(pub i32);

impl Object {
    pub fn open(name: &str) -> Result<Self, Error> {
        checked(unsafe { abi::object_open(name.as_ptr(), name.len() as u32) }).map(Object)
    }

    /// Gives a global variable a value: a constant only before loading.
    pub fn set<T: Plain>(&self, variable: &str, value: &T) -> Result<(), Error> {
        let (name, bytes) = (variable.as_ptr(), variable.len() as u32);
        checked(unsafe { abi::object_set(self.0, name, bytes, address(value), size_of::<T>() as u32) }).map(drop)
    }

    pub fn get<T: Plain>(&self, variable: &str) -> Result<T, Error> {
        let mut value = MaybeUninit::<T>::zeroed();
        let (name, bytes) = (variable.as_ptr(), variable.len() as u32);
        let to = value.as_mut_ptr() as *mut u8;
        checked(unsafe { abi::object_get(self.0, name, bytes, to, size_of::<T>() as u32) })?;
        Ok(unsafe { value.assume_init() })
    }

    pub fn load(&self) -> Result<(), Error> {
        checked(unsafe { abi::object_load(self.0) }).map(drop)
    }

    pub fn close(self) -> Result<(), Error> {
        checked(unsafe { abi::object_close(self.0) }).map(drop)
    }

    pub fn program(&self, name: &str) -> Result<Program, Error> {
        checked(unsafe { abi::program_find(self.0, name.as_ptr(), name.len() as u32) }).map(Program)
    }

    pub fn map(&self, name: &str) -> Result<RawMap, Error> {
        checked(unsafe { abi::map_find(self.0, name.as_ptr(), name.len() as u32) }).map(RawMap)
    }
}

/// A program of an object.
#[derive(Clone, Copy)]
pub struct Program(pub i32);

impl Program {
    /// Whether it is loaded with its object.
    pub fn autoload(&self, on: bool) -> Result<(), Error> {
        checked(unsafe { abi::program_autoload(self.0, on as u32) }).map(drop)
    }

    /// Attaches it; an empty target: to what its section names.
    pub fn attach(&self, target: &str, cookie: u64) -> Result<Link, Error> {
        let (text, bytes) = (target.as_ptr(), target.len() as u32);
        checked(unsafe { abi::program_attach(self.0, text, bytes, cookie) }).map(Link)
    }

    /// Runs it once, here and now, with a context of one's own: for raw tracepoints its arguments.
    pub fn run(&self, context: &mut [u8]) -> Result<abi::Run, Error> {
        let mut run = abi::Run::default();
        let (at, bytes) = (context.as_mut_ptr(), context.len() as u32);
        let (input, output) = (core::ptr::null(), core::ptr::null_mut());
        checked(unsafe { abi::program_run(self.0, at, bytes, input, 0, output, 0, &mut run) })?;
        Ok(run)
    }

    /// Attaches it to what its section names, if it was loaded and can be attached.
    pub fn attach_if_loaded(&self) -> Result<(), Error> {
        match self.attach("", 0) {
            Ok(_) | Err(Error::NOT_SUPPORTED) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// An attached program; it stays attached without this.
#[derive(Clone, Copy)]
pub struct Link(pub i32);

impl Link {
    pub fn detach(self) -> Result<(), Error> {
        checked(unsafe { abi::link_detach(self.0) }).map(drop)
    }
}

/// A map whose types are not said.
#[derive(Clone, Copy)]
pub struct RawMap(pub i32);

impl RawMap {
    pub fn info(&self) -> Result<abi::MapInfo, Error> {
        let mut info = abi::MapInfo::default();
        checked(unsafe { abi::map_info(self.0, &mut info) })?;
        Ok(info)
    }

    fn lookup<K>(&self, key: &K, value: *mut u8, bytes: usize) -> Result<(), Error> {
        let size = size_of::<K>() as u32;
        checked(unsafe { abi::map_lookup(self.0, address(key), size, value, bytes as u32, 0) }).map(drop)
    }

    fn update<K>(&self, key: &K, value: *const u8, bytes: usize, flags: u64) -> Result<(), Error> {
        let size = size_of::<K>() as u32;
        checked(unsafe { abi::map_update(self.0, address(key), size, value, bytes as u32, flags) }).map(drop)
    }

    fn delete<K>(&self, key: &K) -> Result<(), Error> {
        checked(unsafe { abi::map_delete(self.0, address(key), size_of::<K>() as u32) }).map(drop)
    }

    fn next_key<K: Plain>(&self, key: Option<&K>) -> Result<Option<K>, Error> {
        let mut next = MaybeUninit::<K>::zeroed();
        let size = size_of::<K>() as u32;
        let (from, bytes) = match key {
            Some(key) => (address(key), size),
            None => (core::ptr::null(), 0),
        };
        match checked(unsafe { abi::map_next_key(self.0, from, bytes, next.as_mut_ptr() as *mut u8, size) }) {
            Ok(_) => Ok(Some(unsafe { next.assume_init() })),
            Err(Error::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A map with keys and values of these types.
pub struct Map<K, V>(pub RawMap, PhantomData<(K, V)>);

impl<K, V> From<RawMap> for Map<K, V> {
    fn from(raw: RawMap) -> Self {
        Map(raw, PhantomData)
    }
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// The value of a key; None: there is none.
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = MaybeUninit::<V>::zeroed();
        match self.0.lookup(key, value.as_mut_ptr() as *mut u8, size_of::<V>()) {
            Ok(()) => Ok(Some(unsafe { value.assume_init() })),
            Err(Error::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn set(&self, key: &K, value: &V) -> Result<(), Error> {
        self.0.update(key, address(value), size_of::<V>(), 0)
    }

    pub fn remove(&self, key: &K) -> Result<(), Error> {
        self.0.delete(key)
    }

    /// The keys, as long as nobody removes some.
    pub fn keys(&self) -> Keys<'_, K> {
        Keys { map: &self.0, last: None, done: false }
    }
}

/// Iterates over keys; an error ends it.
pub struct Keys<'a, K> {
    map: &'a RawMap,
    last: Option<K>,
    done: bool,
}

impl<K: Plain> Iterator for Keys<'_, K> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        if self.done {
            return None;
        }
        self.last = self.map.next_key(self.last.as_ref()).unwrap_or(None);
        self.done = self.last.is_none();
        self.last
    }
}

/// A CPU's value, as far from the next as the kernel has it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Slot<V>(pub V);

/// A map in which each possible CPU has a value of its own.
pub struct PerCpuMap<K, V>(pub RawMap, PhantomData<(K, V)>);

impl<K, V> From<RawMap> for PerCpuMap<K, V> {
    fn from(raw: RawMap) -> Self {
        PerCpuMap(raw, PhantomData)
    }
}

impl<K: Plain, V: Plain> PerCpuMap<K, V> {
    /// How many values a lookup fills.
    pub fn cpus(&self) -> Result<usize, Error> {
        Ok(self.0.info()?.cpus as usize)
    }

    /// Fills the values of all CPUs: as many as `cpus` says. False: there is no such key.
    pub fn get(&self, key: &K, values: &mut [Slot<V>]) -> Result<bool, Error> {
        let bytes = values.len() * size_of::<Slot<V>>();
        match self.0.lookup(key, values.as_mut_ptr() as *mut u8, bytes) {
            Ok(()) => Ok(true),
            Err(Error::NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn set(&self, key: &K, values: &[Slot<V>]) -> Result<(), Error> {
        self.0.update(key, values.as_ptr() as *const u8, values.len() * size_of::<Slot<V>>(), 0)
    }

    pub fn remove(&self, key: &K) -> Result<(), Error> {
        self.0.delete(key)
    }

    /// The keys, as long as nobody removes some.
    pub fn keys(&self) -> Keys<'_, K> {
        Keys { map: &self.0, last: None, done: false }
    }
}

const BATCH_BYTES: usize = 64 * 1024;

/// Reads a ring or perf buffer in batches: one copy and one call for many records.
#[repr(C, align(8))]
pub struct Reader {
    batch: [u8; BATCH_BYTES],
    ring: i32,
    filled: usize,
    at: usize,
}

impl Reader {
    pub fn open(map: &RawMap) -> Result<Self, Error> {
        let ring = checked(unsafe { abi::ring_open(map.0, abi::RING_BATCH) })?;
        Ok(Reader { batch: [0; BATCH_BYTES], ring, filled: 0, at: 0 })
    }

    /// The bytes of the next record, aligned to 8; None: there are no more for now.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.at >= self.filled && !self.refill()? {
            return Ok(None);
        }
        let (start, bytes) = self.take();
        Ok(Some(&self.batch[start..start + bytes]))
    }

    /// The next record as a structure; shorter ones are passed over.
    pub fn next<T: Plain>(&mut self) -> Result<Option<T>, Error> {
        while let Some(record) = self.next_record()? {
            if record.len() >= size_of::<T>() {
                return Ok(Some(unsafe { (record.as_ptr() as *const T).read_unaligned() }));
            }
        }
        Ok(None)
    }

    /// Hands all records of a type that there are to the host, a batch in one call; returns how many.
    pub fn emit<T: Plain>(&mut self, event: &Event) -> Result<usize, Error> {
        let mut total = 0;
        while self.at < self.filled || self.refill()? {
            let mut end = 0;
            while self.at < self.filled {
                let (start, bytes) = self.take();
                if bytes >= size_of::<T>() {
                    self.batch.copy_within(start..start + size_of::<T>(), end); // over frames that were read
                    end += size_of::<T>();
                }
            }
            checked(unsafe { abi::emit(event.0, self.batch.as_ptr(), end as u32) })?;
            total += end / size_of::<T>().max(1);
        }
        Ok(total)
    }

    fn refill(&mut self) -> Result<bool, Error> {
        let got = unsafe { abi::ring_read(self.ring, self.batch.as_mut_ptr(), BATCH_BYTES as u32) };
        self.at = 0;
        self.filled = got.max(0) as usize;
        Ok(checked(got)? > 0)
    }

    fn take(&mut self) -> (usize, usize) {
        let frame = &self.batch[self.at..self.at + 4];
        let bytes = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        let start = self.at + size_of::<abi::Frame>();
        self.at = start + (bytes + 7) / 8 * 8;
        (start, bytes)
    }
}

/// A ring in the module's own memory: records are read where the kernel wrote them.
pub struct Window {
    place: abi::RingWindow,
    consumed: u64,
}

impl Window {
    pub fn open(map: &RawMap) -> Result<Self, Error> {
        let ring = checked(unsafe { abi::ring_open(map.0, abi::RING_IN_PLACE) })?;
        let mut place = abi::RingWindow::default();
        checked(unsafe { abi::ring_window(ring, &mut place) })?;
        let consumed = position(place.consumer).load(Ordering::Acquire);
        Ok(Window { place, consumed })
    }

    /// The bytes of the next record, aligned to 8; None: there are no more for now. They stay until `release`, which
    /// gives the space back, once for many records.
    pub fn next_record(&mut self) -> Option<&[u8]> {
        let produced = position(self.place.producer).load(Ordering::Acquire);
        while self.consumed < produced {
            let header = self.place.data + (self.consumed as u32 & self.place.mask);
            let length = unsafe { &*(header as *const AtomicU32) }.load(Ordering::Acquire);
            if length & abi::FRAME_BUSY != 0 {
                return None;
            }
            let bytes = length & !abi::FRAME_DISCARDED;
            self.consumed += 8 + (bytes as u64 + 7) / 8 * 8;
            if length & abi::FRAME_DISCARDED == 0 {
                return Some(unsafe { core::slice::from_raw_parts((header + 8) as *const u8, bytes as usize) });
            }
        }
        None
    }

    /// The next record as a structure, in place; shorter ones are passed over.
    pub fn next<T: Plain>(&mut self) -> Option<&T> {
        loop {
            let record = self.next_record()?;
            if record.len() >= size_of::<T>() && align_of::<T>() <= 8 {
                return Some(unsafe { &*(record.as_ptr() as *const T) });
            }
        }
    }

    /// Gives back the space of all records that were read.
    pub fn release(&mut self) {
        position(self.place.consumer).store(self.consumed, Ordering::Release);
    }
}

fn position(address: u32) -> &'static AtomicU64 {
    unsafe { &*(address as *const AtomicU64) }
}

/// A connection to an address that `network` of wbpf.toml names; it stays open without this.
///
/// A time of 0 does not wait, one below 0 is the module's deadline.
#[derive(Clone, Copy)]
pub struct Socket(pub i32);

impl Socket {
    /// `tcp:HOST:PORT`, `udp:HOST:PORT` or `unix:/PATH`.
    pub fn connect(address: &str, timeout_ms: i32) -> Result<Self, Error> {
        let (text, bytes) = (address.as_ptr(), address.len() as u32);
        checked(unsafe { abi::socket_connect(text, bytes, timeout_ms) }).map(Socket)
    }

    /// How many bytes were sent; of a stream it may be fewer than there are.
    pub fn send(&self, data: &[u8], timeout_ms: i32) -> Result<usize, Error> {
        let (at, bytes) = (data.as_ptr(), data.len() as u32);
        checked(unsafe { abi::socket_send(self.0, at, bytes, timeout_ms) }).map(|count| count as usize)
    }

    /// How many bytes have come; 0 at the end of a stream, `Error::AGAIN` when the time is over.
    pub fn receive(&self, data: &mut [u8], timeout_ms: i32) -> Result<usize, Error> {
        let (at, bytes) = (data.as_mut_ptr(), data.len() as u32);
        checked(unsafe { abi::socket_receive(self.0, at, bytes, timeout_ms) }).map(|count| count as usize)
    }

    /// Whether `wait` also ends when something has come.
    pub fn watch(&self, on: bool) -> Result<(), Error> {
        checked(unsafe { abi::socket_watch(self.0, on as u32) }).map(drop)
    }

    pub fn close(self) -> Result<(), Error> {
        checked(unsafe { abi::socket_close(self.0) }).map(drop)
    }
}

/// Waits until some ring has records, or a watched socket something to receive: how many have, 0 when the time is
/// over; an error when the program is to end. A negative time waits for ever.
pub fn wait(timeout_ms: i32) -> Result<usize, Error> {
    let mut ready = [0i32; 16];
    let bytes = core::mem::size_of_val(&ready) as u32;
    checked(unsafe { abi::wait(timeout_ms, ready.as_mut_ptr() as *mut u8, bytes) }).map(|count| count as usize)
}

/// An event type of wbpf.toml.
#[derive(Clone, Copy)]
pub struct Event(pub u32);

impl Event {
    pub fn find(name: &str) -> Result<Self, Error> {
        checked(unsafe { abi::event_find(name.as_ptr(), name.len() as u32) }).map(|number| Event(number as u32))
    }

    /// Hands records to the host, which filters and prints them; returns how many passed the filter.
    pub fn emit<T: Plain>(&self, records: &[T]) -> Result<usize, Error> {
        let bytes = core::mem::size_of_val(records) as u32;
        checked(unsafe { abi::emit(self.0, records.as_ptr() as *const u8, bytes) }).map(|count| count as usize)
    }
}

/// The text of a parameter's value; None: there is none of this name.
pub fn param<'a>(name: &str, buffer: &'a mut [u8]) -> Option<&'a str> {
    let (text, bytes) = (name.as_ptr(), name.len() as u32);
    let got = unsafe { abi::param_get(text, bytes, buffer.as_mut_ptr(), buffer.len() as u32) };
    if got < 0 {
        return None;
    }
    let end = (got as usize).min(buffer.len());
    core::str::from_utf8(&buffer[..end]).ok()
}

/// The value of a parameter that is a number, or a duration in ns.
pub fn param_number<T: core::str::FromStr>(name: &str) -> Option<T> {
    param(name, &mut [0; 64])?.parse().ok()
}

/// The clock of `bpf_ktime_get_ns()`.
pub fn now_ns() -> u64 {
    unsafe { abi::now_ns() as u64 }
}
