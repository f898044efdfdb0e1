//! Compressing and decompressing a batch's records, each codec by the crate that does it best.
//!
//! Output is capped in bytes and in proportion to the input, and memory grows with what was really produced, never with what
//! a header claims. The builder and the record walk call it; nothing on the broker's fast path does.

use std::io::{self, BufRead, Read, Write};

use bytes::{BufMut, BytesMut};

use crate::Codec;

/// For so many times the input there is room at once when LZ4 is decompressed.
const LZ4_RATIO_USUAL: usize = 4;

/// How much a decompression may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimit {
    /// Never more bytes than these.
    pub output_bytes_max: usize,
    /// Never more than this many times the input …
    pub ratio_max: usize,
    /// … unless it stays below these bytes: equal lines compress very well, and small outputs harm nobody.
    pub ratio_free_bytes: usize,
}

impl Default for DecompressLimit {
    /// 128 MiB; more than 16 MiB only at a ratio up to 1100, a little above what gzip can reach.
    fn default() -> DecompressLimit {
        DecompressLimit { output_bytes_max: 128 << 20, ratio_max: 1100, ratio_free_bytes: 16 << 20 }
    }
}

impl DecompressLimit {
    /// Bytes that `input_bytes` may become.
    pub(crate) fn output_bytes_max(&self, input_bytes: usize) -> usize {
        input_bytes.saturating_mul(self.ratio_max).max(self.ratio_free_bytes).min(self.output_bytes_max)
    }
}

/// Why bytes do not decompress.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum CodecError {
    /// The bytes are not what the codec writes.
    #[error("{codec}: {why}")]
    Damaged { codec: Codec, why: String },
    /// The output outgrows its limit.
    #[error("{codec}: {input_bytes} bytes become more than the {output_bytes_max} bytes allowed for them")]
    TooLarge { codec: Codec, input_bytes: usize, output_bytes_max: usize },
}

/// Decompresses all of `input`; with [`Codec::None`] it is copied.
///
/// # Errors
/// When `input` is damaged, is followed by something else, or outgrows `limit`.
pub fn decompress(codec: Codec, input: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, CodecError> {
    let mut output = Vec::new();
    Decompressor::default().decompress_into(&mut output, codec, input, limit)?;
    Ok(output)
}

/// Decompresses one input after the other, and keeps what can serve the next one.
#[derive(Default)]
pub(crate) struct Decompressor {
    /// Setting one up costs more than a small batch.
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decompressor {
    /// Puts what [`decompress`] gives in `output`'s place, in the memory that it has.
    pub(crate) fn decompress_into(
        &mut self,
        output: &mut Vec<u8>,
        codec: Codec,
        input: &[u8],
        limit: DecompressLimit,
    ) -> Result<(), CodecError> {
        output.clear();
        let output_bytes_max = limit.output_bytes_max(input.len());
        let done = match codec {
            Codec::None if input.len() > output_bytes_max => Err(Stop::TooLarge),
            Codec::None => {
                output.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => read_gzip(input, output, output_bytes_max),
            Codec::Snappy => snappy::decompress(input, output, output_bytes_max),
            Codec::Lz4 => read_lz4(input, output, output_bytes_max),
            Codec::Zstd => self.read_zstd(input, output, output_bytes_max),
        };
        done.map_err(|stop| match stop {
            Stop::Damaged(why) => CodecError::Damaged { codec, why },
            Stop::TooLarge => CodecError::TooLarge { codec, input_bytes: input.len(), output_bytes_max },
        })
    }

    /// One call per attempt, with a growing buffer: unlike the streaming decoder this allocates no window by the frame's claim.
    fn read_zstd(&mut self, input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), Stop> {
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(Stop::damaged)?),
        };
        let mut capacity = input.len().saturating_mul(8).max(16 << 10);
        loop {
            capacity = capacity.min(output_bytes_max);
            output.clear();
            output.reserve_exact(capacity);
            match decoder.decompress_to_buffer(input, output) {
                // An allocation may be larger than what was asked for.
                Ok(_) if output.len() > output_bytes_max => return Err(Stop::TooLarge),
                Ok(_) => return Ok(()),
                Err(error) if !is_output_full(&error) => return Err(Stop::damaged(error)),
                Err(_) if output.capacity() >= output_bytes_max => return Err(Stop::TooLarge),
                Err(_) => capacity = output.capacity().saturating_mul(4),
            }
        }
    }
}

/// Why a decompression stopped; [`decompress`] adds the rest.
enum Stop {
    Damaged(String),
    TooLarge,
}

impl Stop {
    fn damaged(why: impl ToString) -> Stop {
        Stop::Damaged(why.to_string())
    }
}

fn read_gzip(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), Stop> {
    let decoder = flate2::bufread::MultiGzDecoder::new(input);
    // One byte past the limit tells "too large" from "just fits".
    let cap = (output_bytes_max as u64).saturating_add(1);
    decoder.take(cap).read_to_end(output).map_err(Stop::damaged)?;
    if output.len() > output_bytes_max { Err(Stop::TooLarge) } else { Ok(()) }
}

fn read_lz4(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), Stop> {
    let mut rest = input;
    // The decoder's own buffers are at most two blocks of the format's 4 MiB.
    let mut decoder = lz4_flex::frame::FrameDecoder::new(&mut rest);
    output.reserve(input.len().saturating_mul(LZ4_RATIO_USUAL).min(output_bytes_max));
    loop {
        // Block by block out of the decoder's buffer, instead of through smaller ones that grow.
        let block = decoder.fill_buf().map_err(Stop::damaged)?;
        if block.is_empty() {
            break;
        }
        if block.len() > output_bytes_max - output.len() {
            return Err(Stop::TooLarge);
        }
        output.extend_from_slice(block);
        let length = block.len();
        decoder.consume(length);
    }
    if rest.is_empty() { Ok(()) } else { Err(Stop::damaged(format_args!("{} bytes follow the frame", rest.len()))) }
}

/// zstd's only sign of a full output is this text, which is part of its interface (`ZSTD_getErrorName`).
fn is_output_full(error: &io::Error) -> bool {
    error.to_string().contains("Destination buffer is too small")
}

/// Compresses `input` at the codec's default level; see [`Compressor`] to choose one and to reuse its memory.
#[must_use]
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8]) -> Vec<u8> {
    let mut output = BytesMut::new();
    Compressor::new(codec, level).compress_onto(input, &mut output);
    output.into()
}

/// A codec with its level and whatever it keeps from one batch to the next.
pub(crate) struct Compressor {
    codec: Codec,
    level: Option<i32>,
    lz4: Option<lz4_flex::frame::FrameEncoder<Vec<u8>>>,
    zstd: Option<ZstdState>,
}

/// Setting up a zstd context and its worst-case output costs more than a small batch.
struct ZstdState {
    context: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

impl Compressor {
    /// `level`: gzip 0–9 (default 6), zstd −131072–22 (default 3), clamped; the others have no levels.
    pub(crate) fn new(codec: Codec, level: Option<i32>) -> Compressor {
        let zstd = (codec == Codec::Zstd).then(|| {
            let range = zstd::compression_level_range();
            let level =
                level.map_or(zstd::DEFAULT_COMPRESSION_LEVEL, |level| level.clamp(*range.start(), *range.end()));
            let context = zstd::bulk::Compressor::new(level).expect("a level in range is accepted");
            ZstdState { context, scratch: Vec::new() }
        });
        Compressor { codec, level, lz4: (codec == Codec::Lz4).then(lz4_encoder), zstd }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the compressed `input` to `output`.
    pub(crate) fn compress_onto(&mut self, input: &[u8], output: &mut BytesMut) {
        match self.codec {
            Codec::None => output.extend_from_slice(input),
            Codec::Gzip => {
                let level = self.level.map_or(6, |level| level.clamp(0, 9).unsigned_abs());
                let mut encoder = flate2::write::GzEncoder::new(output.writer(), flate2::Compression::new(level));
                encoder.write_all(input).expect("memory takes every write");
                encoder.finish().expect("memory takes every write");
            }
            Codec::Snappy => snappy::compress_onto(input, output),
            Codec::Lz4 => {
                let encoder = self.lz4.as_mut().expect("made together with the codec");
                if input.is_empty() {
                    // One that was used before would open no frame for it.
                    *encoder = lz4_encoder();
                }
                encoder.write_all(input).expect("memory takes every write");
                encoder.try_finish().expect("memory takes every write");
                output.extend_from_slice(encoder.get_ref());
                encoder.get_mut().clear();
            }
            Codec::Zstd => {
                let ZstdState { context, scratch } = self.zstd.as_mut().expect("made together with the codec");
                scratch.clear();
                scratch.reserve(zstd::zstd_safe::compress_bound(input.len()));
                context.compress_to_buffer(input, scratch).expect("the buffer has the size that zstd asks for");
                output.extend_from_slice(scratch);
            }
        }
    }
}

/// As Java writes it: independent blocks of 64 KiB, no checksum beside the batch's own.
fn lz4_encoder() -> lz4_flex::frame::FrameEncoder<Vec<u8>> {
    let frame = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
    lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new())
}

/// Snappy's two wrappings: raw, as most clients write it, and xerial's frames, as Java does.
mod snappy {
    use bytes::{BufMut, BytesMut};

    use super::Stop;

    const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
    /// Magic, version and oldest compatible version.
    const XERIAL_HEADER_BYTES: usize = 16;
    /// snappy-java's default.
    const XERIAL_BLOCK_BYTES: usize = 32 << 10;
    /// Three bytes can copy 64, so an honest block grows by less than this.
    const RATIO_MAX: usize = 22;

    pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, output_bytes_max: usize) -> Result<(), Stop> {
        let mut decoder = snap::raw::Decoder::new();
        if !input.starts_with(&XERIAL_MAGIC) {
            return append_block(&mut decoder, input, output, output_bytes_max);
        }
        let mut rest = input;
        while !rest.is_empty() {
            // Joined streams bring their headers along.
            if rest.starts_with(&XERIAL_MAGIC) {
                rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| Stop::damaged("a cut header"))?;
                continue;
            }
            let (length, blocks) = rest.split_first_chunk::<4>().ok_or_else(|| Stop::damaged("a cut block length"))?;
            let length =
                usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Stop::damaged("a negative length"))?;
            let (block, behind) = blocks.split_at_checked(length).ok_or_else(|| Stop::damaged("a cut block"))?;
            append_block(&mut decoder, block, output, output_bytes_max)?;
            rest = behind;
        }
        Ok(())
    }

    fn append_block(
        decoder: &mut snap::raw::Decoder,
        block: &[u8],
        output: &mut Vec<u8>,
        output_bytes_max: usize,
    ) -> Result<(), Stop> {
        let claimed = snap::raw::decompress_len(block).map_err(Stop::damaged)?;
        if claimed > block.len().saturating_mul(RATIO_MAX) {
            return Err(Stop::damaged(format_args!("a block of {} bytes claims to hold {claimed}", block.len())));
        }
        let before = output.len();
        if claimed > output_bytes_max - before {
            return Err(Stop::TooLarge);
        }
        output.resize(before + claimed, 0);
        let written = decoder.decompress(block, &mut output[before..]).map_err(Stop::damaged)?;
        assert_eq!(written, claimed, "snap writes what it said it would");
        Ok(())
    }

    pub(super) fn compress_onto(input: &[u8], output: &mut BytesMut) {
        output.extend_from_slice(&XERIAL_MAGIC);
        output.put_i32(1);
        output.put_i32(1);
        let mut encoder = snap::raw::Encoder::new();
        let mut block = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK_BYTES)];
        for chunk in input.chunks(XERIAL_BLOCK_BYTES) {
            let length = encoder.compress(chunk, &mut block).expect("the buffer has the size that snappy asks for");
            output.put_i32(i32::try_from(length).expect("a block of 32 KiB compresses to less than 2 GiB"));
            output.extend_from_slice(&block[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_before_does_as_what_is_new() {
        let long: Vec<u8> = (0..200_000_u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
        let inputs: [&[u8]; 7] = [b"one line", &long, b"", b"x", &long[..70_000], b"", &long[5..]];
        for codec in Codec::ALL {
            let (mut compressor, mut decompressor) = (Compressor::new(codec, None), Decompressor::default());
            let mut plain = Vec::new();
            for input in inputs {
                let mut compressed = BytesMut::new();
                compressor.compress_onto(input, &mut compressed);
                assert_eq!(compressed, compress(codec, None, input), "{codec}, {} bytes", input.len());
                let limit = DecompressLimit::default();
                decompressor.decompress_into(&mut plain, codec, &compressed, limit).unwrap();
                assert_eq!(plain, input, "{codec}");
                if !input.is_empty() && codec != Codec::None {
                    let cut = &compressed[..compressed.len() / 2];
                    let cut = decompressor.decompress_into(&mut plain, codec, cut, limit);
                    assert!(cut.is_err() || plain != input, "{codec} makes a whole of a half");
                }
            }
            let limit = DecompressLimit { output_bytes_max: 1000, ..DecompressLimit::default() };
            let compressed = compress(codec, None, &long);
            let refused = decompressor.decompress_into(&mut plain, codec, &compressed, limit);
            assert!(matches!(refused, Err(CodecError::TooLarge { .. })), "{codec}: {refused:?}");
            let fits = compress(codec, None, &long[..1000]);
            decompressor.decompress_into(&mut plain, codec, &fits, limit).unwrap();
            assert_eq!(plain, long[..1000], "{codec}");
        }
    }
}
