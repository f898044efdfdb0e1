//! What an answer consists of: bytes, and ranges of files that are sent without being read.
//!
//! Made by the broker's handlers, sent by the transports. Nothing here does I/O.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;

/// A file that ranges are sent from. The broker implements it over a segment of the log, which lives as long as this does.
pub trait FileRange: AsFd + Send + Sync {
    /// Whether the whole range is in the page cache, so that sending it does not wait for a disk. Asked for each slice on
    /// the core's thread, so it must be cheap; a wrong answer costs time and nothing else.
    fn is_cached(&self, position: u64, length: u64) -> bool;

    /// A promised range could not be read: the file is cut short, or its disk failed. The connection is closed after this
    /// call, for half of the answer may be out already. Called on a core's thread.
    fn read_failed(&self, position: u64, length: u64, error: &io::Error);
}

/// One part of an answer.
#[derive(Clone)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file. It must exist in full: its length has been announced to the peer.
    File {
        /// The file, kept alive until the range is sent.
        file: Arc<dyn FileRange>,
        /// Where the range begins, in bytes.
        position: u64,
        /// How long it is, in bytes.
        length: u64,
    },
}

impl Piece {
    /// The length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File { length, .. } => *length,
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Piece {
        Piece::Bytes(bytes)
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Piece::File { position, length, .. } => write!(f, "File({position}+{length})"),
        }
    }
}

/// One whole answer frame, its four length bytes included.
#[derive(Debug)]
pub struct Response {
    pieces: Vec<Piece>,
}

impl Response {
    /// An answer out of its pieces. The first begins with the frame's length, which must agree with the rest.
    #[must_use]
    pub fn new(pieces: Vec<Piece>) -> Response {
        let response = Response { pieces };
        debug_assert!(response.length_agrees(), "the announced length is wrong: {response:?}");
        response
    }

    /// The pieces, in their order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces, given away.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// The length of the whole frame in bytes, its length field included.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }

    fn length_agrees(&self) -> bool {
        let Some(Piece::Bytes(first)) = self.pieces.first() else { return false };
        let Some(announced) = first.first_chunk::<4>() else { return false };
        self.length() == 4 + u64::from(u32::from_be_bytes(*announced))
    }
}
