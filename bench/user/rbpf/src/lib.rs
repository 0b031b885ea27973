//! rbpf's JIT compiler, as the benchmark calls it from Python. It checks no access to memory.

use rbpf::EbpfVmRaw;
use std::slice;
use std::time::Instant;

/// Compile a program; null if it is refused.
///
/// # Safety
/// `code` has `bytes` bytes.
#[no_mangle]
pub unsafe extern "C" fn peer_load(code: *const u8, bytes: usize) -> *mut EbpfVmRaw<'static> {
    let copy: &'static [u8] = Box::leak(slice::from_raw_parts(code, bytes).to_vec().into_boxed_slice());
    match EbpfVmRaw::new(Some(copy)) {
        Ok(mut vm) => match vm.jit_compile() {
            Ok(()) => Box::into_raw(Box::new(vm)),
            Err(_) => std::ptr::null_mut(),
        },
        Err(_) => std::ptr::null_mut(),
    }
}

/// Run it `count` times over the same memory; nanoseconds for all, and what the last run returned.
///
/// # Safety
/// `vm` came from `peer_load`; `memory` has `bytes` bytes, and the program keeps to them.
#[no_mangle]
pub unsafe extern "C" fn peer_repeat(
    vm: *mut EbpfVmRaw<'static>,
    memory: *mut u8,
    bytes: usize,
    count: u64,
    result: *mut u64,
) -> u64 {
    let started = Instant::now();
    let mut last = 0;
    for _ in 0..count {
        let memory = slice::from_raw_parts_mut(memory, bytes);
        last = (*vm).execute_program_jit(memory).unwrap_or(u64::MAX);
    }
    *result = last;
    started.elapsed().as_nanos() as u64
}
