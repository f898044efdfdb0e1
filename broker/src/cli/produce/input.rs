//! Where lines come from: standard input or files, one after the other, read by a thread so that a quiet input never keeps the client
//! from its connections.
//!
//! Lines are handed on in chunks that know their place. Following files that grow is `follow`'s matter.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::cli::failure::Failure;

/// Bytes read from an input at once.
pub(super) const READ_BYTES: usize = 256 << 10;

/// A line must fit into the producer's buffer.
pub(super) const LINE_BYTES_MAX: usize = 32 << 20;

/// Chunks of lines that may wait between the reading thread and the client.
const CHUNKS_MAX: usize = 4;

/// Whole lines of one input; the very last one may lack its line feed.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The input, by its number.
    pub(super) source: usize,
    /// The number of the first line, from 1.
    pub(super) first_line: u64,
    pub(super) bytes: Bytes,
}

/// What the reading thread hands on: lines, or why there are no more.
pub(super) type Chunks = mpsc::Receiver<Result<Chunk, String>>;
pub(super) type ChunkSender = mpsc::Sender<Result<Chunk, String>>;

/// An input and what to call it.
pub(super) struct Source {
    pub(super) name: Arc<str>,
    reader: Box<dyn Read + Send>,
    /// Its size, where that is known beforehand.
    pub(super) bytes: Option<u64>,
}

/// Opens all inputs, so that a misspelt name is found before anything is sent. No path and `-` mean standard input.
pub(super) fn open(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let stdin = Path::new("-").to_path_buf();
    let paths = if paths.is_empty() { std::slice::from_ref(&stdin) } else { paths };
    paths.iter().map(|path| if *path == stdin { Ok(Source::stdin()) } else { Source::file(path) }).collect()
}

impl Source {
    fn stdin() -> Source {
        Source { name: "standard input".into(), reader: Box::new(io::stdin()), bytes: None }
    }

    fn file(path: &Path) -> Result<Source, Failure> {
        let failed = |error: io::Error| Failure::other(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok(Source { name: path.display().to_string().into(), reader: Box::new(file), bytes })
    }
}

/// Reads the inputs to their ends, on a thread of its own.
pub(super) fn read(sources: Vec<Source>) -> Result<Chunks, Failure> {
    start(move |chunks| {
        for (index, source) in sources.into_iter().enumerate() {
            if read_source(index, source, chunks).is_none() {
                return;
            }
        }
    })
}

/// Starts the reading thread.
pub(super) fn start(read: impl FnOnce(&ChunkSender) + Send + 'static) -> Result<Chunks, Failure> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
    let started = thread::Builder::new().name("input".to_owned()).spawn(move || read(&chunks));
    started.map_err(|error| Failure::other(format!("the input's thread cannot be started: {error}")))?;
    Ok(receiver)
}

/// `None` when there is no more to do, because of an error or because nobody listens.
fn read_source(source: usize, Source { name, reader, .. }: Source, chunks: &ChunkSender) -> Option<()> {
    let mut input = BufReader::with_capacity(READ_BYTES, reader);
    let mut first_line = 1;
    loop {
        match read_chunk(&mut input) {
            Ok(chunk) if chunk.is_empty() => return Some(()),
            Ok(chunk) => {
                let lines = count_lines(&chunk);
                chunks.blocking_send(Ok(Chunk { source, first_line, bytes: chunk.into() })).ok()?;
                first_line += lines;
            }
            Err(error) => {
                let message = format!("cannot read {name} from line {first_line} on: {error}");
                // Nobody listens to it any more: then it makes no difference.
                let _ = chunks.blocking_send(Err(message));
                return None;
            }
        }
    }
}

/// The lines that are there now, at once, so that a slow input is passed on line by line; at least one, and none at the end.
fn read_chunk(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    let available = loop {
        match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Borrowed anew: the compiler does not see that the loop ends here.
            Ok(_) => break input.fill_buf()?,
            Err(error) => return Err(error),
        }
    };
    let whole = available.iter().rposition(|byte| *byte == b'\n').map_or(available.len(), |end| end + 1);
    chunk.extend_from_slice(&available[..whole]);
    input.consume(whole);
    if !chunk.is_empty() && !chunk.ends_with(b"\n") {
        let limit = (LINE_BYTES_MAX + 1 - chunk.len().min(LINE_BYTES_MAX)) as u64;
        input.take(limit).read_until(b'\n', &mut chunk)?;
        if chunk.len() > LINE_BYTES_MAX {
            return Err(line_too_long());
        }
    }
    Ok(chunk)
}

/// A line that no record can hold.
pub(super) fn line_too_long() -> io::Error {
    io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes"))
}

pub(super) fn count_lines(chunk: &[u8]) -> u64 {
    lines(chunk).count() as u64
}

/// The lines of a chunk, without their line feeds.
pub(super) fn lines(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    chunk.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_line_feeds_and_an_unfinished_one_counts() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = lines(text.as_bytes()).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("a\nb\n", &["a", "b"]);
        check("a\n\nb", &["a", "", "b"]);
        check("\r\n", &["\r"]);
    }

    fn source(text: Vec<u8>) -> Source {
        Source { name: "text".into(), reader: Box::new(io::Cursor::new(text)), bytes: None }
    }

    #[test]
    fn chunks_hold_whole_lines_whatever_their_length() {
        let mut text = Vec::new();
        for length in [0, 1, 5, READ_BYTES - 1, READ_BYTES, 3 * READ_BYTES, 7] {
            text.extend(std::iter::repeat_n(b'x', length));
            text.push(b'\n');
        }
        text.extend_from_slice(b"unfinished");
        let mut chunks = read(vec![source(text.clone()), source(b"second\n".to_vec())]).unwrap();
        let (mut all, mut next_line) = (Vec::new(), 1);
        while let Some(chunk) = chunks.blocking_recv() {
            let Chunk { source, first_line, bytes } = chunk.unwrap();
            if source == 1 {
                assert_eq!((first_line, &bytes[..]), (1, &b"second\n"[..]));
                continue;
            }
            assert!(bytes.ends_with(b"\n") || bytes.ends_with(b"unfinished"));
            assert_eq!(first_line, next_line);
            next_line += count_lines(&bytes);
            all.extend(bytes);
        }
        assert_eq!(all, text);
        assert_eq!(next_line, 9);
    }

    #[test]
    fn a_line_without_end_is_refused_not_gathered() {
        let text = [b"short\n".to_vec(), vec![b'x'; LINE_BYTES_MAX + 10]].concat();
        let mut chunks = read(vec![source(text)]).unwrap();
        assert_eq!(&chunks.blocking_recv().unwrap().unwrap().bytes[..], b"short\n");
        let error = chunks.blocking_recv().unwrap().unwrap_err();
        assert_eq!(error, "cannot read text from line 2 on: a line is longer than 33554432 bytes");
        assert!(chunks.blocking_recv().is_none());
    }
}
