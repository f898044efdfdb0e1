//! A room of our own: mounts that nobody else sees, and processes that end with us.
//!
//! The program runs itself again as the first process of new mount and process namespaces (`unshare`, of util-linux). When that
//! process ends, however it ends, the kernel ends every broker it started and undoes every mount it made. Only an empty directory
//! may stay, which the next run removes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tokio::signal::unix::{SignalKind, signal};

/// Set for the process inside: the directory where it mounts what it needs.
const INSIDE: &str = "RINGMILL_TORTURE_ROOM";
/// What shells report for a program that was interrupted.
const INTERRUPTED: i32 = 130;
/// What the directories' names begin with; the number of the process follows.
const PREFIX: &str = "ringmill-torture-";

/// The room. Leaving it removes its directory.
#[derive(Debug)]
pub(crate) struct Room(PathBuf);

/// Makes sure that this process lives in a room of its own, with an empty tmpfs of at most `bytes` in it; returns only there.
///
/// # Errors
/// Why it cannot be had, in words for the user: not root, or a program or a file system that is lacking.
pub(crate) fn enter(programs: &[&str], bytes: u64) -> Result<Room, String> {
    match std::env::var_os(INSIDE) {
        Some(dir) => {
            let dir = PathBuf::from(dir);
            let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).expect("digits hold no zero byte");
            end_when_asked().map_err(|error| format!("watching for signals: {error}"))?;
            mount("ringmill-torture", &dir, "tmpfs", MountFlags::NOATIME, Some(options.as_c_str()))
                .map_err(|error| format!("mounting a tmpfs at {}: {error}", dir.display()))?;
            Ok(Room(dir))
        }
        None => Err(start_inside(programs)),
    }
}

/// Replaces this process by the one inside; comes back only with a reason why that is impossible.
fn start_inside(programs: &[&str]) -> String {
    if !rustix::process::geteuid().is_root() {
        return "this needs root: it mounts file systems".to_owned();
    }
    if let Some(lacking) = programs.iter().chain(&["unshare"]).find(|program| !is_installed(program)) {
        return format!("this needs {lacking}, which is not installed");
    }
    if !Path::new("/dev/loop-control").exists() {
        return "this needs loop devices: /dev/loop-control is not there".to_owned();
    }
    remove_abandoned();
    let dir = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    if let Err(error) = fs::create_dir_all(&dir) {
        return format!("making {}: {error}", dir.display());
    }
    let myself = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(myself)
        .args(std::env::args_os().skip(1).collect::<Vec<OsString>>())
        .env(INSIDE, &dir)
        .exec();
    format!("unshare: {error}")
}

/// The first process of a namespace ignores what it does not ask for: without this nobody could interrupt it.
fn end_when_asked() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        Ok::<_, std::io::Error>(async move {
            tokio::select! {
                biased;
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        })
    })?;
    std::thread::spawn(move || {
        runtime.block_on(watch);
        eprintln!("interrupted; everything that was started ends with this");
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

impl Room {
    /// Where files and mount points may be made; in memory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Whatever fails here ends with the namespace anyway.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

fn is_installed(program: &str) -> bool {
    // Where root's programs lie need not be in the path of whoever calls.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

/// Removes the empty directories of runs that were killed.
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // One that is not empty is not ours.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
