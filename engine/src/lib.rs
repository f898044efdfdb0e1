//! The storage engine: partitions as logs of record batches on disk.
//!
//! It knows bytes, batch headers, offsets, epochs, segments, indexes, retention and producer state. It knows no sockets, no
//! requests and no setting's name, and it starts no thread but the plain-call disk's own pool.
//!
//! # Used alone
//!
//! ```
//! use std::rc::Rc;
//! use std::sync::Arc;
//!
//! use ringmill_batch::{BatchBuilder, BatchHeader, Codec, DecompressLimit, Offset, read_records};
//! use ringmill_engine::clock::SystemClock;
//! use ringmill_engine::disk::{Disk, PosixDisk, block_on};
//! use ringmill_engine::log::{Identity, Log, LogConfig, LogEnv};
//!
//! # let dir = tempfile::tempdir()?;
//! # let data_dir = dir.path();
//! let disk: Rc<dyn Disk> = Rc::new(PosixDisk::new(2)?);
//! let env = LogEnv::new(Rc::clone(&disk), Arc::new(SystemClock));
//! let id = Identity { topic_id: [7; 16], partition: 0 };
//!
//! let value = block_on(&*disk, async {
//!     let log = Log::create(env, data_dir.join("greetings-0"), id, LogConfig::default()).await?;
//!     let work = async {
//!         let mut batch = BatchBuilder::new(Codec::None, None);
//!         batch.push(1_700_000_000_000, Some(b"key"), Some(b"hello"), &[]);
//!         let batch = batch.finish();
//!         let header = BatchHeader::parse(&batch)?;
//!         // The answer means: it is on the device.
//!         let appended = log.append(batch, header).await??;
//!         assert_eq!(appended.base_offset, Offset::ZERO);
//!
//!         let plan = log.reader().plan(&*disk, Offset::ZERO, 1 << 20, true).await?;
//!         let length = usize::try_from(plan.length)?;
//!         let bytes = disk.read_at(plan.segment.file(), plan.position, length).await?;
//!         let records = read_records(&bytes, DecompressLimit::default())?;
//!         let value = records.iter().next().expect("one record")?.value.map(<[u8]>::to_vec);
//!         log.close().await?;
//!         Ok::<_, Box<dyn std::error::Error>>(value)
//!     };
//!     // One future drives the log: it writes, syncs and keeps house until the log is closed.
//!     tokio::join!(Rc::clone(&log).drive(), work).1
//! })?;
//! assert_eq!(value.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod checkpoint;
pub mod clock;
mod compaction;
pub mod data_dir;
pub mod disk;
pub mod epochs;
mod fields;
#[cfg(test)]
mod format_page;
pub mod log;
pub mod partition_meta;
pub mod producer_state;
pub mod repair;
pub mod segment;
mod turn;
pub mod verify;
pub mod watch;

pub use compaction::CompactionLimits;
