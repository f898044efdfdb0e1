//! Small file systems for tests, made and mounted by root, and gone with the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How often an unmount is tried: a killed broker's ring may hold the volume for a moment.
const UNMOUNT_ATTEMPTS: usize = 100;

/// A mounted file system.
pub struct Volume {
    at: PathBuf,
    /// Removed after the unmount.
    _dir: TempDir,
}

impl Volume {
    /// Memory that is full after so many bytes. `None`, and a loud word, where nothing can be mounted.
    pub fn tmpfs(bytes: u64) -> Option<Volume> {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let options = format!("size={bytes}");
        Volume::mount(dir, &["-t", "tmpfs", "-o", &options, "tmpfs"])
    }

    /// Memory that takes so many files and directories, its own root among them.
    pub fn of_few_files(files: u64) -> Option<Volume> {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let options = format!("size=64m,nr_inodes={files}");
        Volume::mount(dir, &["-t", "tmpfs", "-o", &options, "tmpfs"])
    }

    /// An ext4 in a sparse file of this size, which lies in `on` or beside the mount point.
    pub fn ext4(bytes: u64, on: Option<&Volume>, options: &str) -> Option<Volume> {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let image = on.map_or(dir.path(), Volume::path).join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("a sparse file can be made");
        let made = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: this test needs mkfs.ext4");
            return None;
        }
        let options = format!("loop,{options}");
        let image = image.to_str().expect("the test's paths are UTF-8").to_owned();
        Volume::mount(dir, &["-t", "ext4", "-o", &options, &image])
    }

    /// An ext4 image that was mounted before.
    pub fn again(image: &Path) -> Option<Volume> {
        let dir = tempfile::tempdir().expect("a directory can be made");
        Volume::mount(dir, &["-t", "ext4", "-o", "loop", image.to_str().expect("the test's paths are UTF-8")])
    }

    fn mount(dir: TempDir, arguments: &[&str]) -> Option<Volume> {
        let at = dir.path().join("mounted");
        std::fs::create_dir(&at).expect("a directory can be made");
        let mounted = Command::new("mount").args(arguments).arg(&at).stderr(Stdio::null()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: this test mounts a file system of its own, which only root may");
            return None;
        }
        Some(Volume { at, _dir: dir })
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// What the file system is mounted from: `/dev/loop3` for example.
    pub fn device(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the kernel lists what is mounted");
        let at = self.at.to_str().expect("the test's paths are UTF-8");
        let mounted = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at)).expect("it is mounted");
        mounted.split(' ').next().expect("a line begins with the device").to_owned()
    }

    pub fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).expect("a mounted file system can be asked");
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        for _ in 0..UNMOUNT_ATTEMPTS {
            let unmounted = Command::new("umount").arg(&self.at).stderr(Stdio::null()).status();
            if unmounted.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} is still in use and stays mounted until nobody uses it", self.at.display());
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
