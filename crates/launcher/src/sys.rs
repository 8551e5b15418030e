//! The system calls, and the state in which the kernel starts a program. Linux on x86_64 and aarch64.
//!
//! All `unsafe` code of the launcher is in this file.

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};

use crate::buffer::Path;
use crate::errno::Errno;
use crate::message::Output;
use crate::runfiles::FileSystem;

// The kernel jumps to `_start` with the stack pointer at the arguments (System V ABI, "Process
// Initialization"). The stack is aligned to 16 bytes, which `call` and `bl` rely on; the frame pointer
// marks the outermost frame.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    ".type _start, @function",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl {start}",
    "brk #1",
    start = sym start,
);

/// # Safety
///
/// `stack` is the stack pointer with which the kernel started the process.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: as the caller promises.
    let process = unsafe { Process::new(stack) };
    exit(crate::run(&process))
}

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const EXECVE: usize = 59;
    pub const GETCWD: usize = 79;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const READLINKAT: usize = 267;
    pub const FACCESSAT: usize = 269;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const GETCWD: usize = 17;
    pub const FACCESSAT: usize = 48;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const READLINKAT: usize = 78;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
}

const AT_FDCWD: usize = -100_isize as usize;

/// Makes a system call. Calls with fewer than six arguments ignore the others.
///
/// # Safety
///
/// The call must do to memory only what the caller may do to it.
#[inline(never)]
unsafe fn syscall(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention (syscall(2)). On x86_64, the
    // kernel changes rcx and r11 too, which are declared. It does not touch the user's stack. What the
    // call does to memory is the caller's responsibility.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: see above; on aarch64, no other register is changed.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: the call does not return, and changes no memory.
        let _ = unsafe { syscall(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Standard error.
pub struct Stderr;

impl Output for Stderr {
    fn write(&mut self, mut bytes: &[u8]) {
        const EINTR: Errno = Errno(4);
        block_broken_pipe_signal();
        while !bytes.is_empty() {
            // SAFETY: the call reads the bytes of a slice.
            let written =
                unsafe { syscall(number::WRITE, [2, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) };
            match written {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(EINTR) => {}
                // There is nobody to tell.
                Err(_) => return,
            }
        }
    }
}

/// Keeps SIGPIPE from killing the process if nobody reads its message, so that it ends with its exit code.
/// Must not be called before `execve`: the interpreter would inherit the mask.
fn block_broken_pipe_signal() {
    const SIG_BLOCK: usize = 0;
    const SIGPIPE: u32 = 13;
    // Bit 0 is signal 1.
    let set: u64 = 1 << (SIGPIPE - 1);
    let pointer: *const u64 = &set;
    // SAFETY: the call reads a set of 8 bytes, and changes no memory.
    let _ = unsafe {
        syscall(number::RT_SIGPROCMASK, [SIG_BLOCK, pointer as usize, 0, size_of::<u64>(), 0, 0])
    };
}

/// The files of the machine.
pub struct System;

impl FileSystem for System {
    fn exists(&self, path: &CStr) -> Result<(), Errno> {
        const F_OK: usize = 0;
        // SAFETY: the call reads a string that ends in NUL.
        unsafe { syscall(number::FACCESSAT, [AT_FDCWD, path.as_ptr() as usize, F_OK, 0, 0, 0]) }.map(|_| ())
    }

    fn read_link(&self, path: &CStr, target: &mut Path) -> Result<(), Errno> {
        target.fill(|memory| {
            let (to, size) = (memory.as_mut_ptr() as usize, memory.len());
            // SAFETY: the call reads a string that ends in NUL, and writes at most `size` bytes into a
            // slice of that length.
            unsafe { syscall(number::READLINKAT, [AT_FDCWD, path.as_ptr() as usize, to, size, 0, 0]) }
        })
    }

    fn current_directory(&self, path: &mut Path) -> Result<(), Errno> {
        path.fill(|memory| {
            let (to, size) = (memory.as_mut_ptr() as usize, memory.len());
            // SAFETY: the call writes at most `size` bytes into a slice of that length.
            let written = unsafe { syscall(number::GETCWD, [to, size, 0, 0, 0, 0]) };
            // The terminating NUL is counted.
            written.map(|written| written.saturating_sub(1))
        })
    }
}

impl System {
    /// Reads the beginning of a file, as far as `memory` reaches.
    pub fn read_start<'a>(&self, path: &CStr, memory: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        const O_CLOEXEC: usize = 0o2_000_000;
        // A pipe must not keep us waiting.
        const O_NONBLOCK: usize = 0o4000;
        let flags = O_CLOEXEC | O_NONBLOCK;
        // SAFETY: the call reads a string that ends in NUL.
        let file =
            unsafe { syscall(number::OPENAT, [AT_FDCWD, path.as_ptr() as usize, flags, 0, 0, 0]) }?;
        let (to, size) = (memory.as_mut_ptr() as usize, memory.len());
        // SAFETY: the call writes at most `size` bytes into a slice of that length.
        let len = unsafe { syscall(number::READ, [file, to, size, 0, 0, 0]) };
        // SAFETY: the call changes no memory, and nothing else uses the descriptor.
        let _ = unsafe { syscall(number::CLOSE, [file, 0, 0, 0, 0, 0]) };
        Ok(memory.get(..len?).unwrap_or_default())
    }

    /// Replaces the process, unless that fails.
    pub fn execute(&self, path: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
        let (arguments, environment) = (arguments.0.as_ptr() as usize, environment.0.as_ptr() as usize);
        // SAFETY: the call reads a string that ends in NUL, and two arrays of pointers to such strings,
        // both with a null pointer at the end, as `Strings` guarantees.
        let result =
            unsafe { syscall(number::EXECVE, [path.as_ptr() as usize, arguments, environment, 0, 0, 0]) };
        result.err().unwrap_or(Errno::ENOEXEC)
    }
}

/// Pointers to strings that live as long as `'a`, and a null pointer.
pub struct Strings<'a>(&'a [*const c_char]);

impl<'a> Strings<'a> {
    /// Collects `strings` in memory that is never freed.
    pub fn collect(strings: impl Iterator<Item = &'a CStr> + Clone) -> Result<Strings<'a>, Errno> {
        const PROT_READ_WRITE: usize = 1 | 2;
        const MAP_PRIVATE_ANONYMOUS: usize = 2 | 0x20;
        const NO_FILE: usize = usize::MAX;
        let count = strings.clone().count() + 1;
        let bytes = count * size_of::<*const c_char>();
        // SAFETY: the kernel chooses an address where nothing is mapped.
        let memory = unsafe {
            syscall(number::MMAP, [0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, NO_FILE, 0])
        }?;
        // SAFETY: the new pages are aligned, as long as `count` pointers, filled with zeros, which are
        // null pointers, and known to nobody else.
        let pointers =
            unsafe { core::slice::from_raw_parts_mut(memory as *mut *const c_char, count) };
        // The last pointer remains null.
        for (pointer, string) in pointers[..count - 1].iter_mut().zip(strings) {
            *pointer = string.as_ptr();
        }
        Ok(Strings(pointers))
    }
}

/// What the kernel has put on the stack: the arguments, the environment and the auxiliary vector.
pub struct Process {
    arguments: &'static [*const c_char],
    environment: &'static [*const c_char],
    executed: Option<&'static CStr>,
}

impl Process {
    /// # Safety
    ///
    /// `stack` is the stack pointer with which the kernel started the process. Nothing else uses what
    /// is there.
    unsafe fn new(stack: *const usize) -> Process {
        /// Auxiliary vector: the end, and the path that was executed.
        const AT_NULL: usize = 0;
        const AT_EXECFN: usize = 31;
        // SAFETY: the stack begins with the number of arguments; then come the pointers to the
        // arguments, a null pointer, those to the variables, a null pointer, and pairs of words, of
        // which the last begins with AT_NULL. All of it, and the strings, stay as they are until the
        // process ends. Every pointer below stays within these arrays.
        unsafe {
            let argc = *stack;
            let argv = stack.add(1).cast::<*const c_char>();
            let envp = argv.add(argc + 1);
            let mut envc = 0;
            while !(*envp.add(envc)).is_null() {
                envc += 1;
            }
            let mut pair = envp.add(envc + 1).cast::<usize>();
            let mut executed = None;
            while *pair != AT_NULL {
                if *pair == AT_EXECFN {
                    executed = Some(CStr::from_ptr(*pair.add(1) as *const c_char));
                }
                pair = pair.add(2);
            }
            Process {
                arguments: core::slice::from_raw_parts(argv, argc),
                environment: core::slice::from_raw_parts(envp, envc),
                executed,
            }
        }
    }

    pub fn arguments(&self) -> impl Iterator<Item = &CStr> + Clone {
        // SAFETY: the kernel's pointers lead to strings that end in NUL and stay until the process ends.
        self.arguments.iter().map(|&argument| unsafe { CStr::from_ptr(argument) })
    }

    pub fn environment(&self) -> impl Iterator<Item = &CStr> + Clone {
        // SAFETY: as above.
        self.environment.iter().map(|&variable| unsafe { CStr::from_ptr(variable) })
    }

    /// The path by which the program was executed.
    pub fn executed(&self) -> Option<&'static CStr> {
        self.executed
    }
}

/// A reference to the same value, about whose content the compiler knows nothing: `pylayer` changes it
/// in the file.
pub fn opaque<T>(value: &'static T) -> &'static T {
    let mut pointer: *const T = value;
    // SAFETY: there are no instructions, so the pointer, which is valid forever, stays the same.
    unsafe {
        asm!("/* {0} */", inout(reg) pointer, options(nostack, preserves_flags));
        &*pointer
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    Stderr.write(b"launcher: internal error\n");
    exit(126)
}

/// The functions that the compiler calls for copies and comparisons, and [`CStr::from_ptr`] for lengths.
/// A libc would have them. `#![no_builtins]` in `main.rs` keeps the compiler from turning these loops
/// into calls of themselves.
mod memory {
    use core::ffi::c_char;

    /// How many bytes are set at once. New paths are 4 KiB of zeros; set byte by byte, those of a start
    /// would take a quarter of the launcher's time.
    const BLOCK: usize = size_of::<u128>();

    /// # Safety
    ///
    /// As in C: `n` bytes can be read at `from` and written at `to`, and do not overlap.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        for index in 0..n {
            // SAFETY: `index < n`.
            unsafe { *to.add(index) = *from.add(index) };
        }
        to
    }

    /// # Safety
    ///
    /// As in C: `n` bytes can be read at `from` and written at `to`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        if (to as usize).wrapping_sub(from as usize) >= n {
            // Going up never overwrites what is still to be read.
            for index in 0..n {
                // SAFETY: `index < n`.
                unsafe { *to.add(index) = *from.add(index) };
            }
        } else {
            for index in (0..n).rev() {
                // SAFETY: `index < n`.
                unsafe { *to.add(index) = *from.add(index) };
            }
        }
        to
    }

    /// # Safety
    ///
    /// As in C: `n` bytes can be written at `to`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
        let block = u128::from_ne_bytes([byte as u8; BLOCK]);
        let mut index = 0;
        while n - index >= BLOCK {
            // SAFETY: `index + BLOCK <= n`.
            unsafe { to.add(index).cast::<u128>().write_unaligned(block) };
            index += BLOCK;
        }
        while index < n {
            // SAFETY: `index < n`.
            unsafe { *to.add(index) = byte as u8 };
            index += 1;
        }
        to
    }

    /// # Safety
    ///
    /// As in C: `n` bytes can be read at `a` and at `b`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
        for index in 0..n {
            // SAFETY: `index < n`.
            let (a, b) = unsafe { (*a.add(index), *b.add(index)) };
            if a != b {
                return i32::from(a) - i32::from(b);
            }
        }
        0
    }

    /// # Safety
    ///
    /// As `memcmp`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
        // SAFETY: as the caller promises.
        unsafe { memcmp(a, b, n) }
    }

    /// # Safety
    ///
    /// As in C: there is a NUL at or after `string`, and all bytes up to it can be read.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(string: *const c_char) -> usize {
        let mut len = 0;
        // SAFETY: no byte before this one is NUL, so it is not beyond the first NUL.
        while unsafe { *string.add(len) } != 0 {
            len += 1;
        }
        len
    }
}
