//! What a report has to say of the machine, its file systems and the broker's process: without it no figure can be compared.
//!
//! It reads the kernel's files and measures nothing. What it cannot find out it calls unknown.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{settle, units};

/// The conditions that every command reports: without them no figure can be compared.
pub(crate) fn conditions() -> Vec<(&'static str, String)> {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |count| count.to_string());
    let memory_bytes = memory_bytes("MemTotal");
    let mut conditions = vec![
        ("command", std::env::args().collect::<Vec<_>>().join(" ")),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("kernel", system.release().to_string_lossy().into_owned()),
        (
            "processor",
            field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| system.machine().to_string_lossy().into()),
        ),
        ("cores", cores),
        ("memory", memory_bytes.map_or_else(|| "unknown".to_owned(), |bytes| units::decimal(bytes as f64, "B"))),
    ];
    if settle::host_takes_free_memory() {
        let why = "taken back by this virtual machine's host, so long loads on a server here (--pid) begin with page cache in it";
        conditions.push(("free_memory", why.to_owned()));
    }
    conditions
}

/// Memory that nothing is in, not even page cache.
pub(crate) fn free_memory_bytes() -> Option<u64> {
    memory_bytes("MemFree")
}

fn memory_bytes(name: &str) -> Option<u64> {
    field_of("/proc/meminfo", name)?.split(' ').next()?.parse().ok().map(|kib: u64| kib * 1024)
}

/// The first line `name: value` of a file of the kernel.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

/// The file system that a directory lies on: its type, device and mount options.
pub(crate) fn file_system(directory: &Path) -> String {
    let known = || {
        let directory = directory.canonicalize().ok()?;
        file_system_among(&fs::read_to_string("/proc/self/mounts").ok()?, &directory)
    };
    known().unwrap_or_else(|| "unknown".to_owned())
}

/// The mount with the longest path that holds the directory; of several at one path the last covers the others.
fn file_system_among(mounts: &str, directory: &Path) -> Option<String> {
    let mut found: Option<(PathBuf, String)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (device, point, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let deeper = found.as_ref().is_none_or(|(other, _)| Path::new(point).starts_with(other));
        if deeper && directory.starts_with(point) {
            found = Some((point.into(), format!("{kind} on {device} at {point} ({options})")));
        }
    }
    found.map(|(_, described)| described)
}

/// The command line of a process, as it was started.
pub(crate) fn command_of(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_that_holds_a_directory_is_its_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/vdb /data xfs rw,noatime 0 0\n";
        let at = |path: &str| file_system_among(mounts, Path::new(path)).unwrap();
        assert_eq!(at("/home/x"), "ext4 on /dev/vda at / (rw)");
        assert_eq!(at("/data/ringmill"), "xfs on /dev/vdb at /data (rw,noatime)");
        assert_eq!(at("/database"), "ext4 on /dev/vda at / (rw)");
    }

    #[test]
    fn this_process_says_how_it_was_started() {
        assert!(command_of(std::process::id()).contains("ringmill"));
        assert!(conditions().iter().any(|(key, value)| *key == "memory" && value != "unknown"));
    }
}
