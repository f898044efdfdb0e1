//! What a crash leaves: of a killed process the page cache and whatever the kernel still does, of a power cut the device alone.

use rustix::io::Errno;

use super::trace::describe;
use super::world::{Flight, LateWrite, World};
use crate::disk::{DiskFile, Op};

impl World {
    /// The process is killed. Its operations in flight happen wholly, in part, later or not at all; the cache stays.
    pub(super) fn kill_process(&mut self) -> Result<(), Errno> {
        self.trace.event("the process is killed".to_owned());
        self.abandon_operations()?;
        self.begin_anew();
        Ok(())
    }

    /// The power goes. What is not synced survives by chance, and the cache is empty.
    pub(super) fn cut_power(&mut self) -> Result<(), Errno> {
        self.trace.event("the power goes".to_owned());
        self.abandon_operations()?;
        self.late.clear();
        self.tree.lose_power(&mut self.prng);
        let reachable = self.tree.reachable();
        self.files.retain(|node, _| reachable.contains(node));
        for inode in self.files.values_mut() {
            inode.lose_power(&mut self.prng)?;
        }
        self.begin_anew();
        Ok(())
    }

    /// Lets writes of a killed process land, now and then.
    pub(super) fn land_late_writes(&mut self) {
        for late in std::mem::take(&mut self.late) {
            if self.prng.chance(0.5) {
                self.late.push(late);
                continue;
            }
            self.trace.event(format!("late write #{} @{}+{}", late.node, late.position, late.bytes.len()));
            let (write_number, now_ms) = (self.next_write_number(), self.now_ms);
            if let Some(inode) = self.files.get_mut(&late.node) {
                inode.write(late.position, &late.bytes, write_number, now_ms).expect("a memfd takes what memory holds");
            }
        }
    }

    fn abandon_operations(&mut self) -> Result<(), Errno> {
        for (number, flight) in std::mem::take(&mut self.in_flight) {
            let happens = self.prng.chance(0.5);
            let name = describe(&flight.op, |_| String::new());
            self.trace.event(format!("abandoned {number} {name}: {}", if happens { "happens" } else { "never was" }));
            if happens {
                self.happen_unseen(flight)?;
            }
        }
        Ok(())
    }

    /// An operation whose process will never hear of it.
    fn happen_unseen(&mut self, flight: Flight) -> Result<(), Errno> {
        match flight.op {
            Op::Write { file, position, buffers, .. } => self.write_unseen(&file, position, buffers.concat()),
            Op::SyncData { file } | Op::SyncAll { file } => {
                if let (Ok(inode), Some(capture)) = (self.file(&file, false), flight.capture) {
                    inode.make_durable(capture);
                } else if let Ok(node) = self.node(&file, false)
                    && self.tree.is_dir(node)
                {
                    self.tree.make_durable(node);
                }
                Ok(())
            }
            Op::SetLength { file, length } => {
                let (write_number, now_ms) = (self.next_write_number(), self.now_ms);
                self.file(&file, true).and_then(|inode| inode.set_length(length, write_number, now_ms)).or(Ok(()))
            }
            // Whether names had changed shows in what survives; an error here is one that nobody would have seen.
            Op::Rename { from, to } => self.tree.rename(&from, &to).or(Ok(())),
            Op::RemoveFile { path } => self.tree.remove_file(&path).or(Ok(())),
            Op::RemoveDir { path } => self.tree.remove_dir(&path).or(Ok(())),
            Op::Open { path, how } => self.open(&path, how).map(drop).or(Ok(())),
            Op::CreateDir { path } => match self.tree.place(&path) {
                Ok(place) => {
                    let node = self.number();
                    self.tree.create_dir(place, node).or(Ok(()))
                }
                Err(_) => Ok(()),
            },
            // These leave nothing that anyone could find.
            Op::Read { .. }
            | Op::ReadDirect { .. }
            | Op::StartWriteback { .. }
            | Op::Allocate { .. }
            | Op::DropCache { .. }
            | Op::NextData { .. }
            | Op::Info { .. }
            | Op::ListDir { .. }
            | Op::Volume { .. } => Ok(()),
        }
    }

    fn write_unseen(&mut self, file: &DiskFile, position: u64, mut bytes: Vec<u8>) -> Result<(), Errno> {
        let Ok(node) = self.node(file, true) else { return Ok(()) };
        if self.prng.chance(self.options.late_write) {
            self.late.push(LateWrite { node, position, bytes });
            return Ok(());
        }
        if self.prng.chance(0.5) {
            let kept = self.prng.below_usize(bytes.len() + 1);
            bytes.truncate(kept);
        }
        let (write_number, now_ms) = (self.next_write_number(), self.now_ms);
        let Some(inode) = self.files.get_mut(&node) else { return Ok(()) };
        inode.write(position, &bytes, write_number, now_ms)
    }

    /// Files and disks of before are dead; what was to strike them is forgotten.
    fn begin_anew(&mut self) {
        self.generation += 1;
        self.opened.clear();
        self.injections.clear();
    }
}
