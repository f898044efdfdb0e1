//! The run as a number: two runs are the same exactly if their traces are.

use std::fmt::Write;

use bytes::BytesMut;

use crate::disk::{DiskFile, Op};

#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    log: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(keep_log: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, log: keep_log.then(Vec::new) }
    }

    pub(super) fn event(&mut self, text: String) {
        for byte in text.bytes().chain([b'\n']) {
            // FNV-1a.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.events += 1;
        if let Some(log) = &mut self.log {
            log.push(text);
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn log(&self) -> &[String] {
        self.log.as_deref().unwrap_or_default()
    }
}

/// An operation in one line, the content of a write included as its checksum.
pub(super) fn describe(op: &Op, name: impl Fn(&DiskFile) -> String) -> String {
    let ranged =
        |what: &str, file: &DiskFile, position: u64, length: u64| format!("{what} {} @{position}+{length}", name(file));
    match op {
        Op::Open { path, how } => format!("open {} {how:?}", path.display()),
        Op::Read { file, position, length } => ranged("read", file, *position, *length as u64),
        Op::ReadDirect { file, position, length } => ranged("read direct", file, *position, *length as u64),
        Op::Write { file, position, buffers, .. } => {
            let mut checksum = crc32fast::Hasher::new();
            buffers.iter().for_each(|buffer| checksum.update(buffer));
            let length: usize = buffers.iter().map(BytesMut::len).sum();
            let mut text = ranged("write", file, *position, length as u64);
            let _ = write!(text, " {:08x}", checksum.finalize());
            text
        }
        Op::SyncData { file } => format!("sync data {}", name(file)),
        Op::SyncAll { file } => format!("sync {}", name(file)),
        Op::StartWriteback { file, position, length } => ranged("write back", file, *position, *length),
        Op::Allocate { file, position, length } => ranged("allocate", file, *position, *length),
        Op::SetLength { file, length } => format!("set length {} {length}", name(file)),
        Op::DropCache { file, position, length } => ranged("drop cache", file, *position, *length),
        Op::NextData { file, position } => format!("next data {} @{position}", name(file)),
        Op::Info { file } => format!("info {}", name(file)),
        Op::ListDir { path } => format!("list {}", path.display()),
        Op::Volume { path } => format!("volume {}", path.display()),
        Op::CreateDir { path } => format!("create dir {}", path.display()),
        Op::Rename { from, to } => format!("rename {} {}", from.display(), to.display()),
        Op::RemoveFile { path } => format!("remove {}", path.display()),
        Op::RemoveDir { path } => format!("remove dir {}", path.display()),
    }
}
