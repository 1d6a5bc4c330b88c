//! A body encoded on its way to the client (RFC 9110, section 8.4.1). No I/O: bytes in, bytes out.
//!
//! What comes in one piece goes out in one: an encoder is flushed at the end of each, so that nothing that a server has
//! said waits for what it says next.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::model::Encoding;

/// Encodes one body.
pub(super) struct Encoder(Kind);

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// How hard each one tries: about as fast as gzip at its usual level, on this machine.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// How far back brotli looks, as a power of two: what one body holds in memory.
const BROTLI_WINDOW_BITS: u32 = 18;

/// The same for zstd.
const ZSTD_WINDOW_BITS: u32 = 18;

/// The buffer that brotli writes from.
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Gzip(_) => "Gzip",
            Kind::Brotli(_) => "Brotli",
            Kind::Zstd(_) => "Zstd",
        })
    }
}

impl Encoder {
    /// # Errors
    /// Where the system has no memory for it.
    pub(super) fn new(encoding: Encoding) -> io::Result<Self> {
        let out = Vec::new();
        Ok(Self(match encoding {
            Encoding::Gzip => Kind::Gzip(GzEncoder::new(out, Compression::new(GZIP_LEVEL))),
            Encoding::Brotli => Kind::Brotli(Box::new(brotli::CompressorWriter::new(
                out,
                BROTLI_BUFFER_BYTES,
                BROTLI_QUALITY,
                BROTLI_WINDOW_BITS,
            ))),
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_BITS)?;
                Kind::Zstd(encoder)
            }
        }))
    }

    /// Takes a piece of the body in.
    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.write_all(data),
            Kind::Brotli(encoder) => encoder.write_all(data),
            Kind::Zstd(encoder) => encoder.write_all(data),
        }
    }

    /// Everything that came so far can be decoded from what is taken next.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Brotli(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What is ready, which is taken out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.0 {
            Kind::Gzip(encoder) => encoder.get_mut(),
            Kind::Brotli(encoder) => encoder.get_mut(),
            Kind::Zstd(encoder) => encoder.get_mut(),
        })
    }

    /// The end of the body: what is left.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self.0 {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Brotli(encoder) => Ok(encoder.into_inner()),
            Kind::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
            Encoding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Encoding::Zstd => {
                zstd::stream::read::Decoder::new(bytes).and_then(|mut d| d.read_to_end(&mut out))
            }
        }
        .expect("it can be decoded");
        out
    }

    #[test]
    fn what_goes_in_comes_out_and_nothing_waits() {
        for encoding in [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
            let mut encoder = Encoder::new(encoding).expect("memory");
            let (mut sent, mut all) = (Vec::new(), Vec::new());
            for piece in [&b"words "[..], b"and more words ", &[7; 70_000]] {
                encoder.write(piece).expect("written");
                encoder.flush().expect("flushed");
                let ready = encoder.take();
                assert!(!ready.is_empty(), "{encoding:?}");
                sent.extend_from_slice(&ready);
                all.extend_from_slice(piece);
            }
            assert!(sent.len() < all.len() / 10);
            sent.extend_from_slice(&encoder.finish().expect("finished"));
            assert_eq!(decoded(encoding, &sent), all, "{encoding:?}");
            let nothing = Encoder::new(encoding).and_then(Encoder::finish).expect("finished");
            assert_eq!(decoded(encoding, &nothing), b"");
        }
    }
}
