#![expect(unsafe_code, reason = "system calls that std does not wrap")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Turns a system call's `-1` into the error it left.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Reserves the file's first `length` bytes and sets its length.
pub(crate) fn fallocate(file: &File, length: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(length).map_err(io::Error::other)?;
    // SAFETY: takes no pointers; the descriptor is open as long as `file` lives.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) }).map(drop)
}

/// Bytes that the filesystem under `path` has left for this process.
pub(crate) fn available(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statvfs` is plain numbers, for which all zeros is a value.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero and `answer` is valid for writing; both outlive the call.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut answer) })?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// The type of the filesystem under `path`, by its usual name.
pub(crate) fn filesystem(path: &Path) -> io::Result<String> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `statfs` is plain numbers, for which all zeros is a value.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero and `answer` is valid for writing; both outlive the call.
    check(unsafe { libc::statfs(path.as_ptr(), &raw mut answer) })?;
    let magic = answer.f_type & 0xffff_ffff;
    let name = match magic {
        libc::EXT4_SUPER_MAGIC => "ext4",
        libc::XFS_SUPER_MAGIC => "xfs",
        libc::BTRFS_SUPER_MAGIC => "btrfs",
        libc::TMPFS_MAGIC => "tmpfs",
        libc::NFS_SUPER_MAGIC => "nfs",
        libc::OVERLAYFS_SUPER_MAGIC => "overlayfs",
        libc::F2FS_SUPER_MAGIC => "f2fs",
        0x2fc1_2fc1 => "zfs",
        _ => return Ok(format!("type {magic:#x}")),
    };
    Ok(name.to_owned())
}

/// A new event counter that wakes a ring.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let descriptor = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Asks for real-time scheduling of the calling thread; whether it was granted.
///
/// An I/O thread runs for microseconds at a time, but on a busy machine an ordinary one waits milliseconds for its turn.
pub(crate) fn ask_for_real_time() -> bool {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: thread 0 is the calling one; the parameter outlives the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const lowest) == 0
    }
}
