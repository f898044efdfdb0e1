//! Takes the metadata database as the device holds it, whatever the page cache shows.
//!
//! After a failed sync the broker stops, and the page cache goes on showing what did not reach the device, as if it were there: the next
//! process would build upon it, and a power cut would leave a database that is neither the old one nor the new. So before the database
//! is opened the two are compared, and where they differ the file is written anew from the device. Knows nothing of what is in it.

use std::io;
use std::path::{Path, PathBuf};

use ringmill_engine::disk::{Disk, OpenHow};

/// Lets the file at `path`, if there is one, be what the device holds.
///
/// # Errors
/// What the system says; the file is then as it was.
pub async fn take_from_device(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let file = match disk.open(path, OpenHow::ReadWrite).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    // What is only late reaches the device now; what was lost stays lost, though this says that all is well.
    disk.sync_all(&file).await?;
    let length = usize::try_from(disk.info(&file).await?.length).map_err(io::Error::other)?;
    let held = disk.read_direct(&file, 0, length).await?;
    if held == disk.read_at(&file, 0, length).await? {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "the page cache shows what a failed sync has lost: the database is taken from the device");
    let renewed = PathBuf::from(format!("{}.renewed", path.display()));
    let copy = disk.open(&renewed, OpenHow::CreateEmpty).await?;
    disk.write_all_at(&copy, 0, vec![held]).await?;
    disk.sync_all(&copy).await?;
    disk.rename(&renewed, path).await?;
    disk.sync_dir(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))).await
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::BytesMut;
    use ringmill_engine::disk::sim::Fault;
    use ringmill_engine::disk::{PosixDisk, SimOptions, Simulation, block_on};

    use super::*;

    const PATH: &str = "/metadata.redb";

    /// The simulation found it: a database that opened after a failed sync, and was damaged after the next power cut.
    #[test]
    fn what_a_failed_sync_has_lost_is_not_built_upon() {
        for seed in 0..20 {
            let machine = Simulation::new(seed, SimOptions::default());
            let file = machine.file(Path::new(PATH)).unwrap();
            file.write_at(0, &[1; 9000]).unwrap();
            file.sync_data().unwrap();
            machine.sync_dir(Path::new("/")).unwrap();
            file.write_at(0, &[2; 9000]).unwrap();
            machine.inject(Path::new(PATH), Fault::SyncFails);
            assert!(file.sync_data().is_err());
            machine.crash_process();
            let read = || {
                let mut bytes = [0; 9000];
                machine.file(Path::new(PATH)).unwrap().read_at(0, &mut bytes).unwrap();
                bytes
            };
            assert_eq!(read(), [2; 9000], "the cache shows what was lost");
            let disk: Rc<dyn Disk> = Rc::new(machine.disk());
            block_on(&*disk, take_from_device(&*disk, Path::new(PATH))).unwrap();
            let opened = read();
            assert_ne!(opened, [2; 9000]);
            machine.crash_power();
            assert_eq!(read(), opened, "it is what a power cut leaves");
        }
    }

    #[test]
    fn a_sound_file_stays_the_file_that_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metadata.redb");
        let disk = PosixDisk::new(1).unwrap();
        block_on(&disk, take_from_device(&disk, &path)).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, BytesMut::from(&[7; 5000][..])).unwrap();
        let before = rustix::fs::stat(&path).unwrap().st_ino;
        block_on(&disk, take_from_device(&disk, &path)).unwrap();
        assert_eq!(rustix::fs::stat(&path).unwrap().st_ino, before);
        assert_eq!(std::fs::read(&path).unwrap(), [7; 5000]);
    }
}
