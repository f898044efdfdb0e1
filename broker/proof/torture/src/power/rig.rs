//! A file system that can lose its power: over a plain image, where what was not written out of memory is lost; or over the failing
//! disk, where moreover any part of what was not flushed is lost, and calls fail by order.
//!
//! It knows no broker. One life of it: `mount`, some use, `cut`, the user's end, `restore`, `mount` again.

use std::path::Path;

use super::file_system::{FileSystem, FileSystemError, Kind, make_image};
use super::shutdown::Shutdown;
use crate::disk::control::{Order, TornDisk};
use crate::random::Random;

/// xfs takes no less than 300 MiB, and the broker keeps a part of every disk free.
pub(crate) const IMAGE_BYTES: u64 = 512 << 20;

/// The rig. Dropping it leaves nothing.
#[derive(Debug)]
pub(crate) struct Rig {
    // The order matters: the file system goes before the disk that it lies on.
    file_system: FileSystem,
    disk: Option<TornDisk>,
}

impl Rig {
    /// Over a plain image, in `dir`.
    ///
    /// # Errors
    /// When the file system cannot be made.
    pub(crate) fn on_image(kind: Kind, dir: &Path, random: &mut Random) -> Result<Rig, FileSystemError> {
        let image = dir.join("image");
        make_image(&image, IMAGE_BYTES)?;
        let file_system = FileSystem::make(kind, &image, &dir.join("mounted"), random.index(usize::MAX))?;
        Ok(Rig { file_system, disk: None })
    }

    /// Over a fresh failing disk, in `dir`.
    ///
    /// # Errors
    /// When disk or file system cannot be made.
    pub(crate) fn on_torn_disk(kind: Kind, dir: &Path, random: &mut Random) -> Result<Rig, FileSystemError> {
        let starting = |error| FileSystemError::Io { what: "starting the failing disk", error };
        let disk = TornDisk::start(&dir.join("disk"), IMAGE_BYTES, random.next()).map_err(starting)?;
        let file_system = FileSystem::make(kind, &disk.file(), &dir.join("mounted"), random.index(usize::MAX))?;
        Ok(Rig { file_system, disk: Some(disk) })
    }

    /// Mounts it, replaying the journal if there is something to replay.
    ///
    /// # Errors
    /// What `mount` said.
    pub(crate) fn mount(&mut self) -> Result<(), FileSystemError> {
        self.file_system.mount()
    }

    /// The power goes: from here on nothing reaches the device, and every call into the file system fails.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn cut(&mut self, how: Shutdown) -> Result<(), FileSystemError> {
        if let Some(disk) = &mut self.disk {
            disk.tell(Order::Die).map_err(|error| FileSystemError::Io { what: "stopping the disk", error })?;
        }
        match self.file_system.shut_down(how) {
            // A file system that has given up on its disk already is as dead as it can be.
            Err(FileSystemError::Io { .. }) if self.disk.is_some() => Ok(()),
            done => done,
        }
    }

    /// After the last user's end: unmounts, and decides what the failing disk has kept. Gives the disk's account, if there is one.
    ///
    /// # Errors
    /// When something still uses it.
    pub(crate) fn restore(&mut self) -> Result<String, FileSystemError> {
        self.file_system.unmount()?;
        // Only ext4 is made for disks that write less than a block as a whole: xfs trusts the number in a block's first sector.
        let tears = self.file_system.kind() == Kind::Ext4;
        self.tell(Order::Cut(tears))
    }

    /// Steers the failing disk; an empty answer if there is none.
    ///
    /// # Errors
    /// When its process is gone.
    pub(crate) fn tell(&mut self, order: Order) -> Result<String, FileSystemError> {
        let Some(disk) = &mut self.disk else { return Ok(String::new()) };
        let answer = disk.tell(order).map_err(|error| FileSystemError::Io { what: "steering the disk", error })?;
        if answer == "busy" {
            let error = std::io::ErrorKind::ResourceBusy.into();
            return Err(FileSystemError::Io { what: "waiting for the loop device", error });
        }
        Ok(answer)
    }

    /// Whether it lies on the failing disk.
    pub(crate) fn is_torn(&self) -> bool {
        self.disk.is_some()
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.file_system.mount_point()
    }

    /// What it is, to be shown.
    pub(crate) fn describe(&self) -> String {
        format!("{} ({})", self.file_system.kind(), self.file_system.options())
    }
}
